package api

import (
	"math"
	"net/http"
	"time"
)

// streams reports whether a request may be answered piece by piece, for as long as its client likes.
func streams(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/v1/sys/monitor"
}

// endless is how long such a request may take.
const endless time.Duration = math.MaxInt64

// stream is engines.Stream for one request.
type stream struct {
	w     http.ResponseWriter
	r     *http.Request
	begun bool
}

// Begin implements engines.Stream.
func (s *stream) Begin() error {
	s.begun = true
	s.w.Header()["Content-Type"] = nil // as in Vault; net/http would guess
	// net/http takes the end of the time to read the request for the end of the client.
	_ = http.NewResponseController(s.w).SetReadDeadline(time.Time{}) // a recorder has none
	return s.Send(nil)
}

// Send implements engines.Stream. In HTTP/2 the deadline must not outlast the piece: it would end the stream while
// there is nothing to send.
func (s *stream) Send(piece []byte) error {
	conn := http.NewResponseController(s.w)
	endBy(s.w, s.r, patientGrace)
	if _, err := s.w.Write(piece); err != nil {
		return err //nolint:wrapcheck // its text reaches nobody
	}
	if err := conn.Flush(); err != nil {
		return err //nolint:wrapcheck // likewise
	}
	if s.r.ProtoMajor >= 2 {
		_ = conn.SetWriteDeadline(time.Time{})
	}
	return nil
}
