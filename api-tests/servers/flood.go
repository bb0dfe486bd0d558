package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Body makes request bodies of a given size, each a different way to be large. Open may be called many times.
type Body struct {
	Name string
	head string
	unit string
	tail string
}

// Bodies are the large bodies that a server must survive: first one string beyond every limit, which can be refused
// early; then a legal secret of many strings just under the limit, and one whose fault shows only at its end.
func Bodies() []Body {
	return []Body{
		{Name: "one long string", head: `{"data":{"k":"`, unit: strings.Repeat("x", 1<<16), tail: `"}}`},
		{Name: "legal strings of 1 MB", head: `{"data":{"k":["`,
			unit: strings.Repeat("x", 1_000_000) + `","`, tail: `"]}}`},
		{Name: "never closed", head: `{"data":{"k":"v"}`, unit: strings.Repeat(" ", 1<<16), tail: ""},
	}
}

// Open returns a reader of at most size bytes of the body, and how many they are.
func (b Body) Open(size int) (io.Reader, int64) {
	units := (size - len(b.head) - len(b.tail)) / len(b.unit)
	parts := make([]io.Reader, 0, units+2)
	parts = append(parts, strings.NewReader(b.head))
	for range units {
		parts = append(parts, strings.NewReader(b.unit))
	}
	parts = append(parts, strings.NewReader(b.tail))
	return io.MultiReader(parts...), int64(len(b.head) + units*len(b.unit) + len(b.tail))
}

// Flood sends count bodies of size bytes to /v1/path at once, every second one without a token, and returns how often
// each status was answered. A connection that the server closed early counts as status 0.
func (s *Server) Flood(ctx context.Context, path string, body Body, count, size int) (map[int]int, error) {
	var (
		mu       sync.Mutex
		statuses = map[int]int{}
		errs     []error
		wg       sync.WaitGroup
	)
	for i := range count {
		wg.Go(func() {
			// Each has a name of its own, so that they do not queue for one secret's lock.
			status, err := s.sendLarge(ctx, fmt.Sprintf("%s-%d", path, i), body, size, i%2 == 0)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return statuses, errors.Join(errs...)
}

func (s *Server) sendLarge(ctx context.Context, path string, body Body, size int, token bool) (int, error) {
	reader, length := body.Open(size)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.Addr()+"/v1/"+path, reader)
	if err != nil {
		return 0, err
	}
	req.ContentLength = length
	if token {
		req.Header.Set("X-Vault-Token", s.RootToken)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		// A server may hang up on a body that it refuses; only the end of our own time is a failure.
		return 0, ctx.Err()
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	if _, err := io.Copy(&answer, io.LimitReader(resp.Body, 1<<20)); err != nil {
		return resp.StatusCode, ctx.Err()
	}
	return resp.StatusCode, nil
}
