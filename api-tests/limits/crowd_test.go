package limits

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

const (
	// crowdSize is how many connections attack at one time.
	crowdSize = 200
	// crowdMemory bounds the resident memory of the server meanwhile, in bytes.
	crowdMemory = 200 << 20
	// crowdTime is how long they do so.
	crowdTime = 5 * time.Second
	// answerWithin is how long a small write beside them may take.
	answerWithin = time.Second
)

// attack is a body that is cheap to send and dear to hold: head, then unit as often as it fits into size, then tail.
type attack struct {
	head, unit, tail string
	size             int
	form             bool
}

// attacks are bodies of every shape, each of less than 33 MiB.
func attacks() []attack {
	var wide strings.Builder
	for i := range 9_000 {
		fmt.Fprintf(&wide, `"%d":0,`, i)
	}
	deep := strings.Repeat(`{"":`, 290) + "0" + strings.Repeat("}", 290)
	empties := "[" + strings.Repeat(`{"":0},`, 9_000) + "0],"
	numbers := "[" + strings.Repeat("1,", 9_999) + "1],"
	texts := "[" + strings.Repeat(`"ab",`, 9_999) + "1],"
	const large, middle, small = 33 << 20, 1 << 20, 60 << 10
	list := func(unit string, size int) attack {
		return attack{head: `{"data":{"k":[`, unit: unit, tail: `0]}}`, size: size}
	}
	return []attack{
		list(`{"`+strings.Repeat("k", 10)+`":0},`, large), list(empties, large), list(numbers, large), list(texts, large),
		list(deep+",", large), list("{"+wide.String()+`"":0},`, large), list(`"`+strings.Repeat("x", 1<<20)+`",`, large),
		list(`"`+strings.Repeat(`\u0041`, 1<<17)+`",`, large), list(`"`+strings.Repeat(`é\n`, 1<<17)+`",`, large),
		list(empties, middle), list(numbers, 3*middle), list(`"`+strings.Repeat("x", 1<<19)+`",`, 7*middle),
		list(`{"":0},`, small), list(`{"":0},`, small/2), list(`{"":0},`, 4000),
		{head: `{"key":"`, unit: strings.Repeat("x", 1<<16), size: large},
		{head: `{"data":{"k":"`, unit: strings.Repeat(`\u00`, 1<<14), size: large},
		{head: `{"data":{"k":"v"}`, unit: strings.Repeat(" ", 1<<16), size: large},
		{unit: strings.Repeat("[", 1<<16), size: large}, {unit: strings.Repeat("{", 1<<12), size: large},
		{unit: "a=1&", size: large, form: true}, {unit: "a=1&", size: middle, form: true},
		{head: "a=", unit: strings.Repeat("%41", 1000), size: middle, form: true},
		{unit: "&=", size: 32 << 10, form: true},
	}
}

// dense are bodies that are small as text and large when they are decoded.
func dense() []attack {
	unit := strings.Repeat(`{"":0},`, 100)
	return []attack{{head: `{"data":{"k":[`, unit: unit, tail: `0]}}`, size: 60 << 10},
		{head: `{"data":{"k":[`, unit: unit, tail: `0]}}`, size: 30 << 10}}
}

// crowd sends attacks over one connection each until ctx ends.
type crowd struct {
	address string
	// tokens are used in turn; "" is none.
	tokens []string
	paths  []string
	bodies []attack

	mu       sync.Mutex
	statuses map[string]int
}

// run lets size connections attack until ctx ends.
func (c *crowd) run(ctx context.Context, size int) {
	c.statuses = map[string]int{}
	var wg sync.WaitGroup
	for i := range size {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n += 7 {
				c.send(ctx, n, c.bodies[n%len(c.bodies)])
			}
		})
	}
	wg.Wait()
}

// send sends one body and reads the answer. What is particular about the request follows from n.
func (c *crowd) send(ctx context.Context, n int, a attack) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	done := make(chan struct{})
	go func() { // the answer may come before the body is sent
		defer close(done)
		status := "none"
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			status = resp.Status[:3]
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.statuses[status]++
	}()
	chunked := n%3 == 0
	var head strings.Builder
	fmt.Fprintf(&head, "PUT /v1/%s HTTP/1.1\r\nHost: x\r\n", strings.ReplaceAll(c.paths[n%len(c.paths)], "N", fmt.Sprint(n%50)))
	if token := c.tokens[n%len(c.tokens)]; token != "" {
		fmt.Fprintf(&head, "X-Vault-Token: %s\r\n", token)
	}
	if a.form {
		head.WriteString("Content-Type: application/x-www-form-urlencoded\r\n")
	}
	units := (a.size - len(a.head) - len(a.tail)) / len(a.unit)
	if chunked {
		head.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	} else {
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", len(a.head)+units*len(a.unit)+len(a.tail))
	}
	if _, err := io.WriteString(conn, head.String()); err == nil {
		c.body(ctx, conn, n, a, units, chunked)
	}
	<-done
}

// body writes the body, fast, slowly, or fast up to some place where it stalls.
func (c *crowd) body(ctx context.Context, conn net.Conn, n int, a attack, units int, chunked bool) {
	unit := []byte(a.unit)
	per := max(1, (64<<10)/len(unit))
	whole := bytes.Repeat(unit, per)
	write := func(b []byte) bool {
		if len(b) == 0 {
			return true
		}
		if chunked {
			b = slices.Concat(fmt.Appendf(nil, "%x\r\n", len(b)), b, []byte("\r\n"))
		}
		_, err := conn.Write(b)
		return err == nil
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	if !write([]byte(a.head)) {
		return
	}
	for sent := 0; sent < units; sent += per {
		if left := units - sent; left < per {
			whole = whole[:left*len(unit)]
		}
		if !write(whole) {
			return
		}
		switch {
		case n%5 == 0: // slowly
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		case n%5 == 1 && sent*len(unit) > a.size/2: // no further
			<-ctx.Done()
			return
		}
	}
	if write([]byte(a.tail)) && chunked {
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}
}

// beside makes small requests one after another until ctx ends, and returns how long they took, sorted.
func beside(ctx context.Context, t *testing.T, request func(context.Context) error) []time.Duration {
	t.Helper()
	var took []time.Duration
	for ctx.Err() == nil {
		begin := time.Now()
		if err := request(t.Context()); err != nil {
			t.Errorf("beside the crowd, after %v: %v", time.Since(begin), err)
			break
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took
}

func serverWithLogins(t *testing.T) *servers.Server {
	t.Helper()
	s := serverWithSecret(t, servers.Options{})
	if _, err := s.Must(t.Context(), http.MethodPost, "sys/auth/userpass", map[string]any{"type": "userpass"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func sealedServer(t *testing.T) *servers.Server {
	t.Helper()
	s := freshServer(t)
	if err := s.Init(t.Context(), 1, 1); err != nil {
		t.Fatal(err)
	}
	return s
}

func freshServer(t *testing.T) *servers.Server {
	t.Helper()
	return servers.ForTest(t, kind(), servers.Options{})
}

// TestCrowd lets many connections send bodies of every shape, fast and slowly, with good, bad and no tokens, to servers
// in every state. Memory stays bounded, and what others ask beside them is answered in time.
func TestCrowd(t *testing.T) {
	paths := []string{"secret/data/crowd-N", "auth/userpass/login/N", "sys/unseal", "secret/metadata/N", "no/mount",
		"sys/wrapping/unwrap", "sys/init", "sys/policies/acl/N", "cubbyhole/N"}
	for name, tc := range map[string]struct {
		server func(*testing.T) *servers.Server
		bodies []attack
		sealed bool
	}{
		"unsealed":        {serverWithLogins, attacks(), false},
		"dense bodies":    {serverWithLogins, dense(), false},
		"sealed":          {sealedServer, attacks(), true},
		"not initialised": {freshServer, attacks(), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.server(t)
			c := &crowd{address: s.HostPort(), paths: paths, bodies: tc.bodies,
				tokens: []string{"", "hvs.worthless", s.RootToken, s.RootToken}}
			request := func(ctx context.Context) error {
				_, err := s.Must(ctx, http.MethodPost, "secret/data/app", map[string]any{"data": map[string]string{"k": "v"}})
				return err
			}
			if tc.sealed {
				request = func(ctx context.Context) error {
					_, err := s.Must(ctx, http.MethodGet, "sys/seal-status", nil)
					return err
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), crowdTime)
			defer cancel()
			var wg sync.WaitGroup
			wg.Go(func() { c.run(ctx, crowdSize) })
			took := beside(ctx, t, request)
			wg.Wait()
			peak, err := s.PeakRSS()
			if err != nil {
				t.Fatal(err)
			}
			if len(took) == 0 {
				t.Fatal("nothing was answered beside the crowd")
			}
			// One in ten may wait for a machine that does other things as well.
			longest, most := took[len(took)-1], took[len(took)*9/10]
			t.Logf("peak %d MB, %d requests beside, 9 of 10 within %v, the longest %v, statuses %v",
				peak>>20, len(took), most, longest, c.statuses)
			if peak > crowdMemory {
				t.Errorf("peak of resident memory: %d MB, want at most %d", peak>>20, crowdMemory>>20)
			}
			if most > answerWithin || longest > 3*answerWithin {
				t.Errorf("requests beside the crowd took up to %v, 9 of 10 up to %v, want at most %v", longest, most, answerWithin)
			}
		})
	}
}
