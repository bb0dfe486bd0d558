package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestConn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/v1/chunked":
			for i := range 3 {
				fmt.Fprintf(w, "part %d;", i)
				w.(http.Flusher).Flush()
			}
		case "/v1/echo":
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.Copy(w, r.Body)
		default:
			fmt.Fprint(w, r.Header.Get("X-Vault-Token"))
		}
	}))
	defer server.Close()
	c, err := overTCP(strings.TrimPrefix(server.URL, "http://"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// All on one connection: each answer must be read to its end for the next to be understood.
	for _, test := range []struct {
		request []byte
		status  int
		body    string
	}{
		{request("GET", "token", "tok", ""), 200, "tok"},
		{request("POST", "echo", "", `{"a":"b"}`), 418, `{"a":"b"}`},
		{request("GET", "chunked", "", ""), 200, "part 0;part 1;part 2;"},
		{request("POST", "empty", "", ""), 204, ""},
		{request("GET", "token", "again", ""), 200, "again"},
	} {
		status, body, err := c.do(test.request)
		if err != nil || status != test.status || string(body) != test.body {
			t.Errorf("%q: %d %q, %v; want %d %q", test.request, status, body, err, test.status, test.body)
		}
	}
	if _, err := c.expect(request("GET", "token", "", ""), 404); !errors.Is(err, errAnswer) {
		t.Errorf("expect of another status: %v, want errAnswer", err)
	}
}

func TestDriveCountsAndFails(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	to := overTCP(strings.TrimPrefix(server.URL, "http://"))
	get := request("GET", "x", "", "")
	steps := func(int) step {
		return func(c *conn, _ int) error { _, err := c.expect(get, 200); return err }
	}
	// On a busy machine a short measurement may end before its first step does.
	perSecond, err := 0.0, error(nil)
	for duration := 50 * time.Millisecond; err == nil && perSecond == 0 && duration < time.Minute; duration *= 2 {
		perSecond, err = drive(t.Context(), to, 2, duration, steps)
	}
	if err != nil || perSecond <= 0 {
		t.Errorf("drive = %v, %v", perSecond, err)
	}
	_, err = drive(t.Context(), to, 2, time.Minute, func(int) step {
		return func(c *conn, _ int) error { _, err := c.expect(get, 500); return err }
	})
	if !errors.Is(err, errAnswer) {
		t.Errorf("drive against wrong answers: %v, want errAnswer", err)
	}
}

func TestClientToken(t *testing.T) {
	token, err := clientToken([]byte(`{"auth":{"client_token":"hvs.x","accessor":"y"}}`))
	if err != nil || token != "hvs.x" {
		t.Errorf("clientToken = %q, %v", token, err)
	}
	if _, err := clientToken([]byte(`{"auth":{"client_token":"hvs`)); !errors.Is(err, errNoToken) {
		t.Errorf("clientToken of half an answer: %v, want errNoToken", err)
	}
}

func TestJudge(t *testing.T) {
	found := results{}
	for _, f := range []struct {
		row, target string
		values      []float64
	}{
		{"read", "coffer", []float64{100, 900, 500}},
		{"read", "vault", []float64{100}},
		{"read", "bare", []float64{600}},
		{"write16", "coffer", []float64{400, 500}},
		{"write16", "vault", []float64{100}},
		{"triple", "vault", []float64{100}},
		{"start", "coffer", []float64{151}},
		{"size", "coffer", []float64{45}},
		{"kube", "coffer", []float64{499}},
		{"kube", "vault", []float64{100}},
		{"apiserver", "coffer", []float64{50}},
		{"apiserver", "bare", []float64{200}},
		{"expiry: data", "coffer", []float64{10.1}},
		{"expiry: data", "vault", []float64{2}},
	} {
		for _, v := range f.values {
			found.add(f.row, f.target, v)
		}
	}
	want := map[string]string{
		"read": "pass", "write16": "MISS", "triple": "not measured", "start": "MISS", "size": "pass",
		"kube": "MISS", "apiserver": "no budget", "expiry: data": "MISS",
	}
	r := judge(found, options{})
	if len(r.Lines) != len(want) {
		t.Errorf("%d lines, want %d", len(r.Lines), len(want))
	}
	var out bytes.Buffer
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Lines {
		for printed := range strings.Lines(out.String()) {
			if strings.HasPrefix(printed, l.What) && !strings.HasSuffix(printed, want[l.Row]+"\n") {
				t.Errorf("%s: want %s at the end of %q", l.Row, want[l.Row], printed)
			}
		}
	}
	for _, ratio := range []string{"5.00 × Vault, 83 % of bare", "25 % of bare"} {
		if !strings.Contains(out.String(), ratio) {
			t.Errorf("the medians' ratio %q is missing:\n%s", ratio, out.String())
		}
	}
	for printed := range strings.Lines(out.String()) {
		if strings.Contains(printed, "growth") && strings.Contains(printed, "× Vault") {
			t.Errorf("a ratio of growths means nothing: %q", printed)
		}
	}
}

func TestServeBare(t *testing.T) {
	in, feed := io.Pipe()
	lines, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveBare(in, out) }()
	if _, err := io.WriteString(feed, "{\"data\":1}\n"); err != nil {
		t.Fatal(err)
	}
	var address string
	if _, err := fmt.Fscanln(lines, &address); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "{\"data\":1}\n" {
		t.Errorf("the bare handler says %q, %v", body, err)
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("serveBare ended with %v", err)
	}
}
