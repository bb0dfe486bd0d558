package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/bits"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/wire"
	"coffer/storage"
)

// errMediaType is returned for a body of a type the method does not take (415).
var errMediaType = errors.New("unsupported media type")

// statusOf is the one table from error to HTTP status. What is not in it is a 500 whose text stays in
// the log.
func statusOf(err error) (status int, known bool) {
	for _, row := range []struct {
		kind   error
		status int
	}{
		{engines.ErrInvalid, http.StatusBadRequest},
		{engines.ErrDenied, http.StatusForbidden},
		{engines.ErrNotFound, http.StatusNotFound},
		{engines.ErrUnsupportedPath, http.StatusNotFound},
		{engines.ErrUnsupported, http.StatusMethodNotAllowed},
		{engines.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{engines.ErrPrecondition, http.StatusPreconditionFailed},
		{engines.ErrBusy, http.StatusTooManyRequests},
		{engines.ErrSealed, http.StatusServiceUnavailable},
		{engines.ErrFailed, http.StatusInternalServerError},
		{errMediaType, http.StatusUnsupportedMediaType},
		{errSlow, http.StatusRequestTimeout},
		{errUnavailable, http.StatusServiceUnavailable},
		{storage.ErrNotLeader, http.StatusServiceUnavailable},
		{storage.ErrUnsettled, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, row.kind) {
			return row.status, true
		}
	}
	return http.StatusInternalServerError, false
}

// respondError writes an error as Vault does: {"errors":["…"]}, the list empty where there is no text.
func (a *api) respondError(w http.ResponseWriter, r *http.Request, id string, err error) {
	w.Header()["Content-Type"] = contentJSON
	status, known := statusOf(err)
	var public *engines.Error
	switch {
	case known && errors.As(err, &public):
		switch {
		case public.Message == "":
			writeErrors(w, r, status)
		case public.Data != nil:
			writeErrorBody(w, r, status, errorBody{[]string{message(public)}, public.Data})
		default:
			writeErrors(w, r, status, message(public))
		}
	case errors.Is(err, storage.ErrNotLeader):
		writeErrors(w, r, status, "this node is not the active one; try again")
	case errors.Is(err, storage.ErrUnsettled):
		writeErrors(w, r, status, "it is not known yet whether the last change was made; try again")
	case known:
		writeErrors(w, r, status, message(err))
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		// The client is gone; nobody reads the answer.
		w.WriteHeader(http.StatusInternalServerError)
	default:
		a.Logger.Error("request failed", "request_id", id, "method", r.Method,
			"path", engines.Cut(r.URL.Path, engines.MaxMessage), "error", message(err))
		writeErrors(w, r, status, "internal error, see the server's log for request "+id)
	}
}

// message is what of an error is sent, or logged. Its text may repeat what the client sent.
func message(err error) string { return engines.Cut(err.Error(), engines.MaxMessage) }

func writeErrors(w http.ResponseWriter, r *http.Request, status int, texts ...string) {
	if texts == nil {
		texts = []string{}
	}
	writeErrorBody(w, r, status, errorBody{Errors: texts})
}

// errorBody is what an error looks like to a client.
type errorBody struct {
	Errors []string       `json:"errors"`
	Data   map[string]any `json:"data,omitempty"`
}

func writeErrorBody(w http.ResponseWriter, r *http.Request, status int, e errorBody) {
	body, err := json.Marshal(e)
	if err != nil {
		body = []byte(`{"errors":[]}`)
	}
	write(w, r, status, append(body, '\n'))
}

// buffers are reused for answers; one that grew large is left to the collector.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// largeAnswer is the size in bytes above which an answer is paid for, until its client has read it. A crowd of 200
// clients with eight streams each can make the server hold 1600 of them.
const largeAnswer = 16 << 10

// newBuffer returns an empty buffer with room for size bytes: an old one, or one that can be put back unless it is
// large.
func newBuffer(size int) *bytes.Buffer {
	if size > largeAnswer {
		return bytes.NewBuffer(make([]byte, 0, size))
	}
	b, ok := buffers.Get().(*bytes.Buffer)
	if !ok || b.Cap() < size {
		return bytes.NewBuffer(make([]byte, 0, 1<<bits.Len(uint(size-1)))) // a power of two, and so is largeAnswer
	}
	b.Reset()
	return b
}

func (a *api) respond(ctx *deadline, w http.ResponseWriter, r *http.Request, call *core.Call, reply core.Reply) {
	resp := reply.Response
	w.Header()["Content-Type"] = contentJSON
	status := http.StatusOK
	if resp != nil && resp.Status != 0 {
		status = resp.Status
	}
	switch {
	case resp != nil && resp.Raw != nil:
		setRawHeader(w, resp)
		a.send(ctx, w, r, call.ID, status, resp.Raw.Body)
		return
	case resp == nil || isEmpty(resp):
		w.WriteHeader(http.StatusNoContent)
		return
	}
	size := wire.Size(resp)
	if size > largeAnswer {
		if err := ctx.ledger.cover(ctx, int64(size)); err != nil {
			ctx.ledger.release()
			a.respondError(w, r, call.ID, err)
			return
		}
	}
	b := newBuffer(size)
	if err := wire.Append(b, call.ID, reply.MountType, resp); err != nil {
		ctx.ledger.release()
		a.respondError(w, r, call.ID, err)
		return
	}
	if b.Cap() > largeAnswer {
		a.send(ctx, w, r, call.ID, status, b.Bytes())
		return
	}
	ctx.ledger.release()
	w.Header()["Content-Length"] = []string{strconv.Itoa(b.Len())}
	write(w, r, status, b.Bytes())
	clear(b.Bytes())
	buffers.Put(b)
}

// send writes an answer of any size. A large one is paid for until the client has read it.
func (a *api) send(ctx *deadline, w http.ResponseWriter, r *http.Request, id string, status int, body []byte) {
	if cap(body) <= largeAnswer {
		ctx.ledger.release()
		write(w, r, status, body)
		return
	}
	if err := ctx.ledger.keep(ctx, int64(cap(body))); err != nil {
		ctx.ledger.release()
		a.respondError(w, r, id, err)
		return
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	ctx.ledger.write(w, body)
}

// isEmpty reports whether there is nothing to tell: a 204.
func isEmpty(r *engines.Response) bool {
	return !r.HasData() && r.Auth == nil && r.Wrap == nil && r.Secret == nil && len(r.Warnings) == 0 && r.Status == 0
}

// pagePolicy is what a browser may do with a page: show it, style and all, and send its form back here. Nobody may put
// it in a frame, where people would press buttons that they do not see.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; " +
	"frame-ancestors 'none'"

func setRawHeader(w http.ResponseWriter, resp *engines.Response) {
	if resp.Raw.ContentType != "" {
		w.Header().Set("Content-Type", resp.Raw.ContentType)
	}
	if strings.HasPrefix(resp.Raw.ContentType, "text/html") {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		// "no-referrer" would make browsers send the page's form with "Origin: null", which CORS refuses.
		w.Header().Set("Referrer-Policy", "same-origin")
		w.Header().Set("X-Frame-Options", "DENY")
		if !resp.Raw.KeepsOpener {
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		}
	}
	if resp.Raw.CacheControl != "" {
		w.Header().Set("Cache-Control", resp.Raw.CacheControl)
	}
}
