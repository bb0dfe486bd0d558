package limits

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// hold opens count connections that send a request and read nothing of its answer, until ctx ends.
func hold(ctx context.Context, t *testing.T, address string, count int, request string) {
	t.Helper()
	var wg sync.WaitGroup
	for range count {
		wg.Go(func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil {
				return
			}
			defer conn.Close()
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(4096) // the kernel keeps as little as it likes
			}
			if _, err := io.WriteString(conn, request); err == nil {
				<-ctx.Done()
			}
		})
	}
	wg.Wait()
}

// writeMany stores thousands of secrets with long names in one folder.
func writeMany(t *testing.T, s *servers.Server) {
	t.Helper()
	names := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range names {
				path := fmt.Sprintf("secret/data/many/%05d%s", i, strings.Repeat("x", 380))
				if _, err := s.Must(t.Context(), http.MethodPost, path, map[string]any{"data": nil}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 4000 {
		names <- i
	}
	close(names)
	wg.Wait()
}

// TestHeldConnections lets many connections make the server hold much for each of them: large answers that nobody reads,
// and requests with as many headers and parameters as fit. Memory stays bounded, and a write beside them is answered.
func TestHeldConnections(t *testing.T) {
	var headers, query strings.Builder
	for i := 0; headers.Len() < 60<<10; i++ {
		fmt.Fprintf(&headers, "%x:\r\n", i)
	}
	for i := 0; query.Len() < 60<<10; i++ {
		fmt.Fprintf(&query, "%x&", i)
	}
	for name, request := range map[string]func(*servers.Server) string{
		"answers": func(s *servers.Server) string {
			return "GET /v1/secret/data/large HTTP/1.1\r\nHost: x\r\nX-Vault-Token: " + s.RootToken + "\r\n\r\n"
		},
		"lists": func(s *servers.Server) string {
			return "LIST /v1/secret/metadata/many HTTP/1.1\r\nHost: x\r\nX-Vault-Token: " + s.RootToken + "\r\n\r\n"
		},
		"headers that never end": func(*servers.Server) string {
			return "GET /v1/secret/data/app HTTP/1.1\r\nHost: x\r\n" + headers.String()[:15<<10]
		},
		"too many headers": func(*servers.Server) string {
			return "GET /v1/secret/data/app HTTP/1.1\r\nHost: x\r\n" + headers.String()
		},
		"headers before a body": func(*servers.Server) string {
			return "PUT /v1/auth/x/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n" + headers.String()[:15<<10] + "\r\n{"
		},
		"parameters": func(s *servers.Server) string {
			return fmt.Sprintf("GET /v1/secret/data/large?%s HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n\r\n",
				query.String()[:15<<10], s.RootToken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serverWithSecret(t, servers.Options{})
			parts := make([]string, 7)
			for i := range parts {
				parts[i] = strings.Repeat("x", 1<<20)
			}
			if _, err := s.Must(t.Context(), http.MethodPost, "secret/data/large",
				map[string]any{"data": map[string]any{"k": parts}}); err != nil {
				t.Fatal(err)
			}
			if name == "lists" {
				writeMany(t, s)
			}
			ctx, cancel := context.WithTimeout(t.Context(), crowdTime/2)
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() { hold(ctx, t, s.HostPort(), crowdSize, request(s)) })
			took := beside(ctx, t, func(ctx context.Context) error {
				_, err := s.Must(ctx, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{"k": "v"}})
				return err
			})
			wg.Wait()
			peak, err := s.PeakRSS()
			if err != nil {
				t.Fatal(err)
			}
			longest := time.Duration(0)
			if len(took) > 0 {
				longest = took[len(took)-1]
			}
			t.Logf("peak %d MB, %d requests beside, the longest %v", peak>>20, len(took), longest)
			if peak > crowdMemory {
				t.Errorf("peak of resident memory: %d MB, want at most %d", peak>>20, crowdMemory>>20)
			}
			if longest > 3*answerWithin {
				t.Errorf("a write beside them took %v, want at most %v", longest, answerWithin)
			}
			begin := time.Now()
			if _, err := s.Must(t.Context(), http.MethodGet, "secret/data/large", nil); err != nil {
				t.Errorf("the large secret afterwards, after %v: %v", time.Since(begin), err)
			}
		})
	}
}
