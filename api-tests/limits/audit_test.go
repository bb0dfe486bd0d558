package limits

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// request sends a request over a connection of its own and reads the answer to its end, part after part with a pause
// between them.
func request(ctx context.Context, address, text string, part int, pause time.Duration) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	for buffer := make([]byte, part); ; {
		if _, err := io.ReadFull(conn, buffer); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// get is a request for a path, after which the connection ends.
func get(path, token string) string {
	return fmt.Sprintf("GET /v1/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: %s\r\n\r\n", path, token)
}

// inTime holds the server to its bounds after requests were made beside an attack.
func inTime(t *testing.T, s *servers.Server, took []time.Duration) {
	t.Helper()
	if len(took) == 0 {
		t.Fatal("nothing was answered beside the attack")
	}
	peak, err := s.PeakRSS()
	if err != nil {
		t.Fatal(err)
	}
	longest, most := took[len(took)-1], took[len(took)*9/10]
	t.Logf("peak %d MB, %d requests beside, 9 of 10 within %v, the longest %v", peak>>20, len(took), most, longest)
	if peak > crowdMemory {
		t.Errorf("peak of resident memory: %d MB, want at most %d", peak>>20, crowdMemory>>20)
	}
	if most > answerWithin || longest > 3*answerWithin {
		t.Errorf("requests beside the attack took up to %v, 9 of 10 up to %v, want at most %v", longest, most, answerWithin)
	}
}

func writing(s *servers.Server, path string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.Must(ctx, http.MethodPost, path, map[string]any{"data": map[string]string{"k": "v"}})
		return err
	}
}

// TestAuditedCrowd lets many connections read, change and list secrets of very many values, and send such bodies without
// a token, while a device records it all. Neither memory nor the log grows with the number of values.
func TestAuditedCrowd(t *testing.T) {
	s := serverWithLogins(t)
	log := filepath.Join(t.TempDir(), "audit.log")
	if _, err := s.Must(t.Context(), http.MethodPost, "sys/audit/file", map[string]any{
		"type": "file", "options": map[string]string{"file_path": log}}); err != nil {
		t.Fatal(err)
	}
	one := make([]int, 9_999)
	many := make([][]int, 45)
	for i := range many {
		many[i] = one
	}
	if _, err := s.Must(t.Context(), http.MethodPost, "secret/data/numbers",
		map[string]any{"data": map[string]any{"k": many}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), crowdTime)
	defer cancel()
	c := &crowd{address: s.HostPort(), paths: []string{"auth/userpass/login/N", "secret/data/N"}, tokens: []string{""},
		bodies: []attack{
			{head: `{"password":"x","k":[[`, unit: strings.Repeat("1,", 900) + "1],[", tail: `0]]}`, size: 60 << 10},
			{head: `{"password":"x","k":[`, unit: "1,", tail: `0]}`, size: 8 << 10},
		}}
	var wg sync.WaitGroup
	wg.Go(func() { c.run(ctx, crowdSize/2) })
	patch := "PATCH /v1/secret/data/numbers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: " + s.RootToken +
		"\r\nContent-Type: application/merge-patch+json\r\nContent-Length: 20\r\n\r\n" + `{"data":{"z": "12"}}`
	requests := []string{get("secret/data/numbers", s.RootToken), get("secret/subkeys/numbers", s.RootToken), patch}
	for i := range crowdSize / 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = request(ctx, s.HostPort(), requests[i%len(requests)], 64<<10, 0) // a busy server refuses some
			}
		})
	}
	took := beside(ctx, t, writing(s, "secret/data/app"))
	wg.Wait()
	inTime(t, s, took)
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KB of log", info.Size()>>10)
	if info.Size() > 32<<20 {
		t.Errorf("%d MB of log", info.Size()>>20)
	}
}

// TestReadersStopNoWriters lets slow readers take the memory for large secrets, and many others wait for it with what
// they read of many names. Writes of other names go on, whatever locks they share with those.
func TestReadersStopNoWriters(t *testing.T) {
	s := serverWithSecret(t, servers.Options{})
	parts := make([]string, 7)
	for i := range parts {
		parts[i] = strings.Repeat("x", 1<<20)
	}
	secrets := map[string]any{"large": parts}
	for i := range 300 {
		secrets[fmt.Sprint("m", i)] = parts[0][:40_000]
	}
	for name, value := range secrets {
		if _, err := s.Must(t.Context(), http.MethodPost, "secret/data/"+name,
			map[string]any{"data": map[string]any{"k": value}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), crowdTime)
	defer cancel()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for ctx.Err() == nil { // a little faster than the slowest that is served
				_ = request(ctx, s.HostPort(), get("secret/data/large", s.RootToken), 115_000, 95*time.Millisecond)
			}
		})
	}
	for i := range 110 {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n += 110 {
				_ = request(ctx, s.HostPort(), get(fmt.Sprintf("secret/data/m%d?version=1", n%300), s.RootToken), 64<<10, 0)
			}
		})
	}
	names := 0
	took := beside(ctx, t, func(ctx context.Context) error {
		names++
		return writing(s, fmt.Sprint("secret/data/other-", names))(ctx)
	})
	wg.Wait()
	inTime(t, s, took)
}
