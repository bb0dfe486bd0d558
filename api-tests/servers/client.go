package servers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// ErrStatus is wrapped by the error of Must when the server answered with a status of 400 or more.
var ErrStatus = errors.New("unexpected status")

// Answer is what Call got. Body is nil when the answer had no JSON object.
type Answer struct {
	Status int
	Body   map[string]any
	Raw    []byte
}

// Data is the object "data" of the answer, or nil.
func (a Answer) Data() map[string]any { return object(a.Body["data"]) }

// Auth is the object "auth" of the answer, or nil.
func (a Answer) Auth() map[string]any { return object(a.Body["auth"]) }

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func newClient(certFile string) (*http.Client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	if certFile != "" {
		pem, err := os.ReadFile(certFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", certFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}, nil
}

// Call sends one request to /v1/path with token (may be empty) and body (nil: none; otherwise encoded as JSON). An
// error means that there was no HTTP answer.
func (s *Server) Call(ctx context.Context, method, path, token string, body any) (Answer, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.Addr()+"/v1/"+path, reader)
	if err != nil {
		return Answer{}, err
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: resp.StatusCode, Raw: raw}
	if json.Unmarshal(raw, &a.Body) != nil {
		a.Body = nil
	}
	return a, nil
}

// Must is Call with the root token that takes a status of 400 or more for an error (wrapping ErrStatus).
func (s *Server) Must(ctx context.Context, method, path string, body any) (Answer, error) {
	a, err := s.Call(ctx, method, path, s.RootToken, body)
	if err != nil {
		return a, err
	}
	if a.Status >= http.StatusBadRequest {
		return a, fmt.Errorf("%s %s: %w %d: %s", method, path, ErrStatus, a.Status, a.Raw)
	}
	return a, nil
}

// health returns the status of sys/health, or 0 when there was no answer.
func (s *Server) health(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	a, err := s.Call(ctx, http.MethodGet, "sys/health", "", nil)
	if err != nil {
		return 0
	}
	return a.Status
}

// Init initialises the server (PUT sys/init) and keeps RootToken and Keys.
func (s *Server) Init(ctx context.Context, shares, threshold int) error {
	a, err := s.Must(ctx, http.MethodPut, "sys/init",
		map[string]int{"secret_shares": shares, "secret_threshold": threshold})
	if err != nil {
		return err
	}
	var answer struct {
		Keys      []string `json:"keys"`
		RootToken string   `json:"root_token"`
	}
	if err := json.Unmarshal(a.Raw, &answer); err != nil {
		return fmt.Errorf("sys/init: %w", err)
	}
	s.Adopt(answer.Keys, answer.RootToken, threshold)
	return nil
}

// Adopt keeps what another call of sys/init answered.
func (s *Server) Adopt(keys []string, rootToken string, threshold int) {
	s.Keys, s.RootToken, s.threshold = keys, rootToken, threshold
}

// Unseal gives the server as many of Keys as it needs and waits until it is active (sys/health says 200).
func (s *Server) Unseal(ctx context.Context) error {
	for _, key := range s.Keys[:s.threshold] {
		if _, err := s.Must(ctx, http.MethodPut, "sys/unseal", map[string]string{"key": key}); err != nil {
			return err
		}
	}
	return s.await(ctx, func(status int) bool { return status == http.StatusOK })
}

// Ready initialises the server with one share and unseals it.
func (s *Server) Ready(ctx context.Context) error {
	if err := s.Init(ctx, 1, 1); err != nil {
		return err
	}
	return s.Unseal(ctx)
}
