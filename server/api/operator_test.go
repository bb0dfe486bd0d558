package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/core"
)

// TestOperatorsAnswersHoldNothing holds that what a body took is free before the answer is written, whatever it says.
func TestOperatorsAnswersHoldNothing(t *testing.T) {
	long := strings.Repeat("<", 1<<20)
	for name, serve := range map[string]operatorCall{
		"answer": func(context.Context, core.Call) (any, error) { return long, nil },
		"error":  func(context.Context, core.Call) (any, error) { return nil, engines.Invalid("%s", long) },
		"fault":  func(context.Context, core.Call) (any, error) { return nil, errors.New(long) },
	} {
		t.Run(name, func(t *testing.T) {
			a := &api{Config{Bodies: NewBodyGate(8 << 20), MaxRequestSize: 8 << 20, MaxRequestDuration: time.Minute,
				JSON: DefaultJSONLimits(), Logger: slog.New(slog.DiscardHandler)}}
			r := httptest.NewRequest(http.MethodPut, "/v1/sys/x", strings.NewReader(fmt.Sprintf(`{"a":%q}`, long)))
			open := a.Bodies.open
			free := open.common
			w := &watched{header: http.Header{}, wrote: func(n int) {
				open.mu.Lock()
				defer open.mu.Unlock()
				if open.common != free || open.privileged != nil {
					t.Error("the body is paid for while its answer is written")
				}
				if name != "answer" && n > 7*engines.MaxMessage {
					t.Errorf("an error of %d bytes", n)
				}
			}}
			a.operator(operatorRoute{methods: operatorMethods{http.MethodPut: serve}})(w, r)
			if !w.written {
				t.Error("nothing was written")
			}
		})
	}
}

// watched tells when an answer is written.
type watched struct {
	header  http.Header
	wrote   func(n int)
	written bool
}

func (w *watched) Header() http.Header { return w.header }
func (w *watched) WriteHeader(int)     {}
func (w *watched) Write(b []byte) (int, error) {
	w.written = true
	w.wrote(len(b))
	return len(b), nil
}
