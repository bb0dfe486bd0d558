package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"coffer/engines"
	"coffer/engines/kv"
	"coffer/server/mounts"
)

// slow is an engine whose reads wait.
type slow struct{ entered, leave chan struct{} }

func (s slow) Routes() *engines.Routes {
	return engines.Compile(engines.Path("{name...}", "Wait.", engines.OnRead(
		func(ctx context.Context, _ *engines.Request, _ struct {
			Name string `path:"name"`
		}) (*engines.Response, error) {
			s.entered <- struct{}{}
			select {
			case <-s.leave:
				return &engines.Response{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})))
}

// A request is listed with who asks while it is served, without the tokens in it, and no longer.
func TestRequestsInFlight(t *testing.T) {
	engine := slow{entered: make(chan struct{}), leave: make(chan struct{})}
	h := newHouseOf(t, map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {
		"kv":   kv.Factory,
		"slow": func(context.Context, engines.Config) (engines.Engine, error) { return engine, nil },
	}})
	h.must(t, "POST", "/v1/sys/mounts/slow", `{"type":"slow"}`)
	listed := func() map[string]string {
		w := h.send(t, "GET", "/v1/sys/in-flight-req", h.root, "")
		var all map[string]struct {
			Path   string `json:"request_path"`
			Method string `json:"request_method"`
			Client string `json:"client_id"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		paths := map[string]string{}
		for _, r := range all {
			paths[r.Method+" "+r.Path] = r.Client
		}
		return paths
	}
	const token = "hvs.abcdefghijklmnopqrstuvwxyz"
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.send(t, "GET", "/v1/slow/"+token, h.root, "")
	}()
	<-engine.entered
	got := listed()
	self, there := got["GET /v1/sys/in-flight-req"]
	other, found := got["GET /v1/slow/<token>"]
	if len(got) != 2 || !there || !found || self == "" || self != other {
		t.Errorf("in flight: %v", got)
	}
	close(engine.leave)
	<-done
	if got = listed(); len(got) != 1 {
		t.Errorf("afterwards: %v", got)
	}
	if w := h.send(t, "GET", "/v1/sys/in-flight-req", "", ""); w.Code != http.StatusForbidden {
		t.Errorf("without a token: %d", w.Code)
	}
}
