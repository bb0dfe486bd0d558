package sys_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/server/sys"
)

func (b *bench) profile(line string) (contentType string, body []byte) {
	b.t.Helper()
	resp, err := b.do(line)
	if err != nil || resp.Raw == nil {
		b.t.Fatalf("%s: %+v, %v", line, resp, err)
	}
	return resp.Raw.ContentType, resp.Raw.Body
}

func TestProfiles(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		contentType, body := b.profile("GET pprof/" + name)
		r, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil || contentType != "application/octet-stream" {
			t.Errorf("%s: %s, %v", name, contentType, err)
			continue
		}
		if content, err := io.ReadAll(r); err != nil || len(content) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
		contentType, body = b.profile("GET pprof/" + name + ` {"debug":"1"}`)
		if !strings.HasPrefix(contentType, "text/plain") || len(body) == 0 {
			t.Errorf("%s: %s, %q", name, contentType, body)
		}
		if _, index := b.profile("GET pprof/"); !strings.Contains(string(index), ">"+name+"<") {
			t.Errorf("%s is not in %s", name, index)
		}
	}
	if _, body := b.profile(`GET pprof/goroutine {"debug":"2"}`); !strings.Contains(string(body), "TestProfiles") {
		t.Errorf("stacks: %s", body)
	}
	if _, body := b.profile(`GET pprof/symbol {"0x0 0x1":""}`); !strings.HasPrefix(string(body), "num_symbols: 1\n") {
		t.Errorf("symbols: %s", body)
	}
	b.run([]step{
		{`GET pprof/nope`, `404 path`},
		{`POST pprof/heap`, `405`},
		{`GET pprof/profile {"seconds":"61"}`, `400 seconds must be from 1 to 60`},
		{`GET pprof/trace {"seconds":"0"}`, `400 seconds must be from 1 to 60`},
		{`- GET pprof/heap`, `403 permission denied`},
	})
}

func TestCommandLineHidesSecrets(t *testing.T) {
	for args, want := range map[string]string{
		"coffer server -dev -dev-root-token-id=s3cret":  "coffer server -dev -dev-root-token-id=<hidden>",
		"coffer server --dev-root-token-id s3cret -dev": "coffer server --dev-root-token-id <hidden> -dev",
		"coffer server -config=/etc/coffer.hcl":         "coffer server -config=/etc/coffer.hcl",
		"coffer server -dev-root-token-id":              "coffer server -dev-root-token-id",
	} {
		if got := strings.Join(sys.WithoutSecrets(strings.Split(args, " ")), " "); got != want {
			t.Errorf("%s: got %s", args, got)
		}
	}
}

// One request at a time records, and it ends with its caller.
func TestRecordings(t *testing.T) {
	b := newBench(t)
	for name, other := range map[string]struct {
		start func(io.Writer) error
		stop  func()
	}{"profile": {pprof.StartCPUProfile, pprof.StopCPUProfile}, "trace": {trace.Start, trace.Stop}} {
		m, ok := b.router.Match(t.Context(), engines.Read, "pprof/"+name)
		if !ok {
			t.Fatal("not served")
		}
		record := &engines.Request{Operation: engines.Read, Params: map[string]any{"seconds": "60"}}
		if err := other.start(io.Discard); err != nil {
			t.Fatal(err)
		}
		_, err := m.Call(t.Context(), record)
		other.stop()
		if !errors.Is(err, engines.ErrFailed) {
			t.Errorf("%s: %v while another records", name, err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 { // the first leaves nothing behind that would refuse the second
			if _, err := m.Call(gone, record); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v after its caller left", name, err)
			}
		}
	}
}

// A trace that has become too long is ended.
func TestTracesAreBounded(t *testing.T) {
	w := sys.NewBoundedWriter(10)
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			if _, err := w.Write(make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
		}
		if err := sys.Wait(t.Context(), time.Hour, w.Full()); err != nil || w.Len() != 18 {
			t.Errorf("%v, %d bytes", err, w.Len())
		}
	})
}
