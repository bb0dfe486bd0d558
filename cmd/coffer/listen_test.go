package main

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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

// TestFramesAreBounded announces a frame of HTTP/2 (RFC 9113, section 4.2) that is larger than what a connection should
// keep a buffer for: the server refuses it before its contents have come.
func TestFramesAreBounded(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.HTTP2 = http2Bounds()
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	c, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const settings, unknown, goAway, frameSizeError = 4, 0x20, 7, 6
	sent := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string([]byte{0, 0, 0, settings, 0, 0, 0, 0, 0}) +
		string([]byte{0, 0x40, 1, unknown, 0, 0, 0, 0, 0}) // 16 KiB and a byte
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatalf("the frame is waited for: %v", err)
		}
		body := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, body); err != nil {
			t.Fatal(err)
		}
		if head[3] != goAway {
			continue
		}
		if code := binary.BigEndian.Uint32(body[4:]); code != frameSizeError {
			t.Errorf("the connection ends with %d, want %d", code, frameSizeError)
		}
		return
	}
}
