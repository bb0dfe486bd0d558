package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of what surrounds a body. Nobody pays for it, and some is kept until the client has read the answer. The
// longest queries seen are those with which identity providers send browsers back, with codes of two kilobytes.
const (
	maxHeaders    = 100
	maxQuery      = 8 << 10 // bytes
	maxParameters = 100
)

// bounded refuses a request of too many headers or parameters before anything is made out of them. What it refuses is
// let go before the answer is written.
func (a *api) bounded(w http.ResponseWriter, r *http.Request) bool {
	if len(r.Header) > maxHeaders {
		r.Header = http.Header{}
		w.Header()["Connection"] = []string{"close"}
		return a.refuseBounds(w, r, http.StatusRequestHeaderFieldsTooLarge, "too many headers")
	}
	if query := r.URL.RawQuery; query != "" && (len(query) > maxQuery || strings.Count(query, "&") >= maxParameters) {
		r.URL.RawQuery, r.RequestURI = "", ""
		return a.refuseBounds(w, r, http.StatusBadRequest, "too many query parameters")
	}
	return true
}

func (a *api) refuseBounds(w http.ResponseWriter, r *http.Request, status int, text string) bool {
	w.Header()["Content-Type"] = contentJSON
	writeErrors(w, r, status, text)
	return false
}

// query returns the parameters of a request's query; nil without any.
func query(r *http.Request) url.Values {
	if r.URL.RawQuery == "" {
		return nil
	}
	return r.URL.Query()
}

// write writes an answer that nobody pays for, of largeAnswer bytes at most.
func write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	endBy(w, r, patientGrace)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// endBy sees to it that the client of an answer cannot make the server wait for ever. In HTTP/2 each stream has a
// window that the client may keep shut, so the answer must be read in time. In HTTP/1.1 that is for the listener to see
// to, which has one deadline for all that is written to a connection.
func endBy(w http.ResponseWriter, r *http.Request, due time.Duration) {
	if r.ProtoMajor >= 2 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(due)) // a recorder has none
	}
}

// longTarget is how many bytes of an address are repeated in the body of a redirect.
const longTarget = 1 << 10

// redirect sends the client to another address on this server.
func redirect(w http.ResponseWriter, r *http.Request, target string) {
	endBy(w, r, patientGrace)
	if len(target) > longTarget {
		w.Header()["Content-Type"] = nil // with a type net/http writes no body, and with none of them no header
	}
	http.Redirect(w, r, target, http.StatusTemporaryRedirect)
}
