package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/wire"
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
		{engines.ErrReadOnly, http.StatusServiceUnavailable},
		{engines.ErrBusy, http.StatusTooManyRequests},
		{engines.ErrSealed, http.StatusServiceUnavailable},
		{engines.ErrFailed, http.StatusInternalServerError},
		{errMediaType, http.StatusUnsupportedMediaType},
		{errSlow, http.StatusRequestTimeout},
		{errUnavailable, http.StatusServiceUnavailable},
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
			writeErrors(w, status)
		case public.Data != nil:
			writeErrorBody(w, status, errorBody{[]string{public.Message}, public.Data})
		default:
			writeErrors(w, status, public.Message)
		}
	case known:
		writeErrors(w, status, err.Error())
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		// The client is gone; nobody reads the answer.
		w.WriteHeader(http.StatusInternalServerError)
	default:
		a.Logger.Error("request failed", "request_id", id, "method", r.Method, "path", r.URL.Path, "error", err)
		writeErrors(w, status, "internal error, see the server's log for request "+id)
	}
}

func writeErrors(w http.ResponseWriter, status int, texts ...string) {
	if texts == nil {
		texts = []string{}
	}
	writeErrorBody(w, status, errorBody{Errors: texts})
}

// errorBody is what an error looks like to a client.
type errorBody struct {
	Errors []string       `json:"errors"`
	Data   map[string]any `json:"data,omitempty"`
}

func writeErrorBody(w http.ResponseWriter, status int, e errorBody) {
	body, err := json.Marshal(e)
	if err != nil {
		body = []byte(`{"errors":[]}`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}

// buffers are reused for answers; one that grew large is left to the collector.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const largeBuffer = 64 << 10

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
	b, ok := buffers.Get().(*bytes.Buffer)
	if !ok {
		b = new(bytes.Buffer)
	}
	b.Reset()
	if err := wire.Append(b, call.ID, reply.MountType, resp); err != nil {
		a.respondError(w, r, call.ID, err)
		return
	}
	if b.Cap() > largeBuffer {
		a.send(ctx, w, r, call.ID, status, b.Bytes())
		return
	}
	w.Header()["Content-Length"] = []string{strconv.Itoa(b.Len())}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
	clear(b.Bytes())
	buffers.Put(b)
}

// send writes an answer of any size. A large one is paid for until the client has read it.
func (a *api) send(ctx *deadline, w http.ResponseWriter, r *http.Request, id string, status int, body []byte) {
	if len(body) <= largeBuffer {
		w.WriteHeader(status)
		_, _ = w.Write(body) // a client that is gone needs no answer
		return
	}
	if err := ctx.ledger.keep(ctx, int64(cap(body))); err != nil {
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
