package kv_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"coffer/engines"
	"coffer/engines/kv"
	"coffer/storage"
	"coffer/storage/memory"
)

// epoch is when the tests begin.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

// server is an engine with what a real server has around it.
type server struct {
	storage storage.Storage
	router  *engines.Router
	now     time.Time
	caller  *engines.Caller
	create  bool // the last write was found to be a create
}

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// mount makes an engine of a version over s. now is read at every request.
func mount(ctx context.Context, s storage.Storage, version string, now func() time.Time) (*engines.Router, error) {
	e, err := kv.Factory(ctx, engines.Config{
		Mount:   engines.Mount{Path: "s/", Type: "kv", Options: map[string]string{"version": version}},
		Storage: s, Logger: slog.New(slog.DiscardHandler), Now: now, TTLs: fixedTTLs{},
		Background: func(work func(context.Context)) { go work(ctx) },
	})
	if err != nil {
		return nil, err
	}
	return engines.NewRouter(e)
}

func newServer(t testing.TB, s storage.Storage, version string) *server {
	t.Helper()
	v := &server{storage: s, now: epoch, caller: &engines.Caller{DisplayName: "root", Policies: []string{"root"}}}
	router, err := mount(t.Context(), s, version, func() time.Time { return v.now })
	if err != nil {
		t.Fatal(err)
	}
	v.router = router
	return v
}

var operations = map[string]engines.Operation{
	"GET": engines.Read, "LIST": engines.List, "PUT": engines.Update, "PATCH": engines.Patch, "DELETE": engines.Delete,
}

var statuses = []struct {
	kind   error
	status int
}{
	{engines.ErrInvalid, 400},
	{engines.ErrNotFound, 404},
	{engines.ErrUnsupported, 405},
	{engines.ErrFailed, 500},
}

// request walks a request the way the server does: route, exists, call.
func (v *server) request(ctx context.Context, method, path string, params map[string]any) (*engines.Response, error) {
	op := operations[method]
	m, ok := v.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	req := &engines.Request{Operation: op, Path: path, Params: params, Caller: v.caller}
	if op == engines.Update && m.ChecksExistence() {
		exists, err := m.Exists(ctx, req)
		if err != nil {
			return nil, err
		}
		if v.create = !exists; v.create {
			req.Operation = engines.Create
		}
	}
	return m.Call(ctx, req)
}

// do makes a request of a line such as "PUT data/a {…}" and gives the answer as a line: the status and, in
// this order, the lease's seconds, the warnings, the data or the error's text.
func (v *server) do(t testing.TB, line string) string {
	t.Helper()
	method, rest, _ := strings.Cut(line, " ")
	path, body, _ := strings.Cut(rest, " ")
	path, query, _ := strings.Cut(path, "?")
	var params map[string]any
	if body != "" {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		if err := d.Decode(&params); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			if params == nil {
				params = map[string]any{}
			}
			params[name] = value
		}
	}
	return answer(v.request(t.Context(), method, path, params))
}

func answer(resp *engines.Response, err error) string {
	if err != nil {
		for _, row := range statuses {
			if errors.Is(err, row.kind) {
				if text := err.Error(); text != row.kind.Error() {
					return fmt.Sprintf("%d %s", row.status, text)
				}
				return fmt.Sprint(row.status)
			}
		}
		return "500 internal: " + err.Error()
	}
	status := resp.Status
	if status == 0 {
		status = 200
		if !resp.HasData() && len(resp.Warnings) == 0 {
			status = 204
		}
	}
	text := fmt.Sprint(status)
	if resp.Secret != nil {
		text += fmt.Sprintf(" lease %d", resp.Secret.TTL/time.Second)
	}
	if len(resp.Warnings) > 0 {
		text += fmt.Sprintf(" warnings %q", resp.Warnings)
	}
	if resp.Encoded != nil {
		text += " " + string(resp.Encoded)
	}
	if resp.Data != nil {
		data, err := json.Marshal(resp.Data)
		if err != nil {
			return err.Error()
		}
		text += " " + string(data)
	}
	return text
}

// step is one request and its answer. In an answer, T+5s is the time that long after the beginning.
type step struct{ request, want string }

// play makes the requests. "wait 5s" lets time pass.
func (v *server) play(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if wait, ok := strings.CutPrefix(s.request, "wait "); ok {
			d, err := time.ParseDuration(wait)
			if err != nil {
				t.Fatal(err)
			}
			v.now = v.now.Add(d)
			continue
		}
		if got := v.relative(v.do(t, s.request)); got != s.want {
			t.Errorf("%s\n got %s\nwant %s", s.request, got, s.want)
		}
	}
}

// relative replaces the times of the first three hours by their distance from the beginning.
func (v *server) relative(answer string) string {
	for s := range 3 * 3600 {
		at := epoch.Add(time.Duration(s) * time.Second)
		if text := at.Format(time.RFC3339Nano); strings.Contains(answer, text) {
			answer = strings.ReplaceAll(answer, text, fmt.Sprintf("T+%ds", s))
		}
		if !strings.Contains(answer, "2026-01-02T") {
			break
		}
	}
	return answer
}

// contents are the keys in s, sorted.
func contents(t testing.TB, s storage.Storage) []string {
	t.Helper()
	var keys []string
	var walk func(prefix string)
	walk = func(prefix string) {
		names, err := s.List(t.Context(), prefix, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				walk(prefix + name)
			} else {
				keys = append(keys, prefix+name)
			}
		}
	}
	walk("")
	return keys
}

func run(t *testing.T, version string, tests map[string][]step) {
	t.Helper()
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) { newServer(t, memory.New(), version).play(t, steps) })
	}
}
