package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// TestStreamsAreBounded asks for more at one time over HTTP/2 than one connection may: the rest goes over another.
func TestStreamsAreBounded(t *testing.T) {
	const asked = 20
	var connections, serving atomic.Int32
	release := make(chan struct{})
	full := make(chan struct{}, asked)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("asked by %s", r.Proto)
		}
		serving.Add(1)
		full <- struct{}{}
		<-release
	}))
	server.Config.HTTP2 = http2Bounds()
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	var wg sync.WaitGroup
	for range asked {
		wg.Go(func() {
			resp, err := server.Client().Get(server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		})
	}
	for range asked {
		<-full
	}
	if n := connections.Load(); n < asked/8 {
		t.Errorf("%d requests at one time over %d connections", serving.Load(), n)
	}
	close(release)
	wg.Wait()
}
