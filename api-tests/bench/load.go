package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// errAnswer is returned for an answer that is no HTTP/1.1, or not the expected one.
var errAnswer = errors.New("unexpected answer")

// conn is a keep-alive HTTP/1.1 connection that costs next to nothing: requests are ready-made bytes, and of an answer
// only the status and the length are parsed. It shares the machine with the servers it measures.
type conn struct {
	net.Conn
	r    *bufio.Reader
	body []byte
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, r: bufio.NewReaderSize(c, 16<<10)} }

// dialer opens a connection to one address.
type dialer func(context.Context) (*conn, error)

// overTCP reaches address in the clear.
func overTCP(address string) dialer {
	return func(ctx context.Context) (*conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return newConn(c), nil
	}
}

// request is the bytes of one request.
func request(method, path, token, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /v1/%s HTTP/1.1\r\nHost: bench\r\n", method, path)
	if token != "" {
		fmt.Fprintf(&b, "X-Vault-Token: %s\r\n", token)
	}
	if body != "" || method != "GET" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

// do sends req and returns the status and the body, which is valid until the next do.
func (c *conn) do(req []byte) (status int, body []byte, err error) {
	if _, err := c.Write(req); err != nil {
		return 0, nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, nil, fmt.Errorf("%w: %q", errAnswer, line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("%w: %q", errAnswer, line)
	}
	length, chunked, err := c.header()
	if err != nil {
		return 0, nil, err
	}
	if chunked {
		err = c.readChunks()
	} else {
		err = c.readBody(length)
	}
	return status, c.body, err
}

// header reads up to the empty line.
func (c *conn) header() (length int, chunked bool, err error) {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			return length, chunked, nil
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(line[16:])); err != nil {
				return 0, false, fmt.Errorf("%w: %q", errAnswer, line)
			}
		case bytes.Equal(line, []byte("Transfer-Encoding: chunked")):
			chunked = true
		}
	}
}

func (c *conn) readBody(length int) error {
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err := io.ReadFull(c.r, c.body)
	return err
}

func (c *conn) readChunks() error {
	c.body = c.body[:0]
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return fmt.Errorf("%w: chunk %q", errAnswer, line)
		}
		start := len(c.body)
		c.body = append(c.body, make([]byte, size+2)...) // The chunk and its line end.
		if _, err := io.ReadFull(c.r, c.body[start:]); err != nil {
			return err
		}
		c.body = c.body[:start+int(size)]
		if size == 0 {
			return nil
		}
	}
}

// expect is do for a request that must be answered with status.
func (c *conn) expect(req []byte, want int) ([]byte, error) {
	status, body, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if status != want {
		return nil, fmt.Errorf("%w: %d, want %d: %.300s", errAnswer, status, want, body)
	}
	return body, nil
}

// step is one unit of work of one connection; i counts up from 0.
type step func(c *conn, i int) error

// drive runs steps on the given number of connections until stop says so, and returns how many were done in how long.
// next makes the steps of one connection. Steps of the first tenth of the duration warm up and do not count.
func drive(ctx context.Context, to dialer, conns int, duration time.Duration, next func(worker int) step) (
	perSecond float64, err error,
) {
	ctx, cancel := context.WithTimeout(ctx, duration+time.Minute)
	defer cancel()
	warm := time.Now().Add(duration / 10)
	end := warm.Add(duration)
	counts, errs := make([]int, conns), make([]error, conns)
	var wg sync.WaitGroup
	for w := range conns {
		c, err := to(ctx)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		wg.Go(func() { counts[w], errs[w] = work(c, next(w), warm, end) })
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / duration.Seconds(), errors.Join(errs...)
}

// work repeats do and counts what ended between warm and end.
func work(c *conn, do step, warm, end time.Time) (count int, err error) {
	for i := 0; ; i++ {
		if err := do(c, i); err != nil {
			return 0, err
		}
		now := time.Now()
		if now.After(end) {
			return count, nil
		}
		if now.After(warm) {
			count++
		}
	}
}
