package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are pipes, so that time can be a test's.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8200} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// served is a house that listens on pipes.
func served(t *testing.T) (*house, *pipes) {
	t.Helper()
	h := newHouse(t)
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: h.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = s.Serve(p) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-stopped
		<-time.After(time.Minute) // for what net/http lets linger of its connections
	})
	return h, p
}

// answer reads the status of an answer and how long it took to come.
func answer(c net.Conn) (status int, body string, took time.Duration) {
	begin := time.Now()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error(), time.Since(begin)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), time.Since(begin)
}

// TestStalledUploadsKeepNobodyOut stalls many large uploads, with a length and in chunks. Small and large bodies of
// others are served meanwhile, and the stalled ones end with 408.
func TestStalledUploadsKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := served(t)
		var stalled []net.Conn
		for i := range 20 {
			c := p.dial()
			defer func() { _ = c.Close() }()
			size, part := "Content-Length: 33554432", strings.Repeat("x", 60<<10)
			if i%2 == 1 {
				size, part = "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n", 60<<10, part)
			}
			_, err := fmt.Fprintf(c, "PUT /v1/secret/data/x HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n%s\r\n\r\n%s", h.root, size, part)
			if err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, c)
		}
		synctest.Wait()
		for _, size := range []int{10, 100 << 10, 5 << 20} {
			c := p.dial()
			defer func() { _ = c.Close() }()
			text := `{"data":{"a":"` + strings.Repeat("x", min(size, 1<<20)) + `"}}` + strings.Repeat(" ", max(0, size-1<<20))
			go func() {
				_, _ = fmt.Fprintf(c, "PUT /v1/secret/data/y HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n\r\n%s",
					h.root, len(text), text)
			}()
			if status, body, took := answer(c); status != http.StatusOK || took > 2*time.Second {
				t.Errorf("%d bytes beside stalled uploads: %d after %v, %s", size, status, took, body)
			}
		}
		for i, c := range stalled {
			if status, body, took := answer(c); status != http.StatusRequestTimeout || took > 30*time.Second {
				t.Errorf("stalled upload %d: %d after %v, %s", i, status, took, body)
			}
		}
	})
}

// TestStalledSmallBodiesKeepNobodyOut stalls as many small bodies as a listener's connections can bring, of which nothing
// came, or a part, with a length and in chunks. Tiny and small bodies of others are served meanwhile.
func TestStalledSmallBodiesKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := served(t)
		const longest = 30 * time.Second
		heads := []string{"Content-Length: 36000\r\n\r\n", "Content-Length: 36000\r\n\r\n" + strings.Repeat("x", 100),
			"Transfer-Encoding: chunked\r\n\r\n1800\r\n" + strings.Repeat("x", 5<<10), "Content-Length: 4000\r\n\r\n"}
		stalled := make([]net.Conn, 0, 2000)
		for i := range cap(stalled) {
			c := p.dial()
			defer func() { _ = c.Close() }()
			if _, err := io.WriteString(c, "PUT /v1/auth/userpass/login/x HTTP/1.1\r\nHost: x\r\n"+heads[i%len(heads)]); err != nil {
				t.Fatal(err)
			}
			stalled = append(stalled, c)
		}
		synctest.Wait()
		for _, tc := range []struct {
			size   int
			within time.Duration
		}{{10, 0}, {3 << 10, 0}, {20 << 10, 15 * time.Second}} {
			c := p.dial()
			defer func() { _ = c.Close() }()
			text := `{"data":{"a":"` + strings.Repeat("x", tc.size) + `"}}`
			go func() {
				_, _ = fmt.Fprintf(c, "PUT /v1/secret/data/y HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n\r\n%s",
					h.root, len(text), text)
			}()
			if status, body, took := answer(c); status != http.StatusOK || took > tc.within {
				t.Errorf("%d bytes beside stalled bodies: %d after %v, %s", tc.size, status, took, body)
			}
		}
		for i, c := range stalled {
			status, body, took := answer(c)
			if status != http.StatusRequestTimeout || took > longest {
				t.Fatalf("stalled body %d: %d after %v, %s", i, status, took, body)
			}
		}
	})
}

// TestMalformedChunksAreTheClientsFault sends a chunk whose length is no number.
func TestMalformedChunksAreTheClientsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := served(t)
		c := p.dial()
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprintf(c, "PUT /v1/secret/data/x HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n"+
			"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", h.root); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := answer(c); status != http.StatusBadRequest {
			t.Errorf("%d %s", status, body)
		}
	})
}

// TestLargeBodiesOfStrangersAreNotRead sends the beginning of a large body to a sealed server, and with a worthless token.
func TestLargeBodiesOfStrangersAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := served(t)
		begin := func(token string) int {
			c := p.dial()
			defer func() { _ = c.Close() }()
			if _, err := fmt.Fprintf(c, "PUT /v1/secret/data/x HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n"+
				"Content-Length: 10000000\r\n\r\n{", token); err != nil {
				t.Fatal(err)
			}
			status, _, took := answer(c)
			if took > time.Second {
				t.Errorf("answered after %v", took)
			}
			return status
		}
		if status := begin("hvs.worthless"); status != http.StatusForbidden {
			t.Errorf("a worthless token: %d", status)
		}
		if err := h.core.Seal(); err != nil {
			t.Fatal(err)
		}
		if status := begin(h.root); status != http.StatusServiceUnavailable {
			t.Errorf("sealed: %d", status)
		}
	})
}
