package api

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/inflight"
)

// mergePatch is the only body type of PATCH (RFC 7396).
const mergePatch = "application/merge-patch+json"

// methods maps HTTP methods to operations; the core tells create from update.
var methods = map[string]engines.Operation{
	http.MethodGet:    engines.Read,
	"LIST":            engines.List,
	http.MethodPut:    engines.Update,
	http.MethodPost:   engines.Update,
	http.MethodPatch:  engines.Patch,
	http.MethodDelete: engines.Delete,
	// No route serves these two, but who may know that is for the core to say.
	http.MethodHead:    engines.Header,
	http.MethodOptions: engines.Options,
}

// logical serves everything that an engine answers.
func (a *api) logical(w http.ResponseWriter, r *http.Request) {
	begun := a.Core.Metrics().Begin()
	due := begun.Add(a.MaxRequestDuration)
	if streams(r) {
		due = begun.Add(endless)
	}
	ctx := withDeadline(r.Context(), due)
	defer ctx.close()
	defer a.count(ctx, begun)
	ctx.ledger.gate, ctx.ledger.r = a.Bodies, r
	defer ctx.ledger.release()
	ctx.entry.Request = inflight.Request{ID: newRequestID(), Method: r.Method, Path: r.URL.Path, Address: r.RemoteAddr,
		Token: clientToken(r), Begun: begun}
	ctx.entry.Context = ctx
	a.Core.InFlight().Enter(&ctx.entry)
	defer ctx.entry.Leave()
	op, ok := methods[r.Method]
	if !ok {
		a.refuseMethod(w, r)
		return
	}
	call, in, err := a.call(ctx, w, r, op)
	if in != nil {
		defer in.release() // of what panics; the rest is given back before
	}
	var reply core.Reply
	if err == nil {
		if in != nil {
			ctx.ledger.adopt(in.share)
		}
		if streams(r) {
			ctx.stream = stream{w: w, r: r}
			call.Stream = &ctx.stream
		}
		reply, err = a.Core.Handle(ctx, call)
	}
	if in != nil {
		// The answer may take its time to be read; what was asked is needed no more.
		call.Params = nil
		in.release()
	}
	switch {
	case ctx.stream.begun:
	case err != nil:
		ctx.ledger.release()
		a.respondError(w, r, call.ID, err)
	default:
		a.respond(ctx, w, r, &call, reply)
	}
}

// count counts a request out. How long a client followed the log is not how long the server took to answer.
func (a *api) count(ctx *deadline, begun time.Time) {
	if ctx.stream.begun {
		a.Core.Metrics().Leave()
	} else {
		a.Core.Metrics().End(begun)
	}
}

func (a *api) refuseMethod(w http.ResponseWriter, r *http.Request) {
	w.Header()["Content-Type"] = contentJSON
	writeErrors(w, r, http.StatusMethodNotAllowed)
}

// call decodes an HTTP request. On an error the call has its ID and no more. The body's intake is nil for a request
// without one; the caller releases it.
func (a *api) call(
	ctx *deadline, w http.ResponseWriter, r *http.Request, op engines.Operation,
) (_ core.Call, in *intake, err error) {
	call := core.Call{ID: ctx.entry.ID, Operation: op, Path: strings.TrimPrefix(r.URL.Path, "/v1/"),
		Token: ctx.entry.Token, Client: client(r)}
	if a.Core.Sealed() {
		return core.Call{ID: call.ID}, nil, engines.ErrSealed
	}
	switch op {
	case engines.Update, engines.Patch:
		if wantsHelp(query(r)) {
			call.Operation = engines.Help
			break
		}
		in, err = a.decodeWrite(ctx, w, r, &call)
	default:
		// A body has no meaning here, but a bad one is refused all the same.
		if _, in, err = a.readBody(ctx, w, r, &call); err == nil && op != engines.Delete {
			err = decodeQuery(query(r), &call)
		}
	}
	if err == nil {
		err = decodeHeaders(r, &call)
	}
	if err == nil && writes(call.Operation) && strings.HasSuffix(call.Path, "/") {
		err = engines.Invalid("cannot write to a path ending in '/'")
	}
	if err != nil {
		return core.Call{ID: call.ID}, in, err
	}
	return call, in, nil
}

// wantsHelp reports whether the request asks what the path is for, which any method may.
func wantsHelp(query url.Values) bool { return query.Get("help") != "" }

func decodeQuery(query url.Values, call *core.Call) error {
	if query != nil {
		switch call.Operation {
		case engines.Header, engines.Options:
			if wantsHelp(query) {
				call.Operation = engines.Help
			}
		case engines.Read:
			if wantsHelp(query) {
				call.Operation = engines.Help
			} else if list := query.Get("list"); list != "" {
				asked, err := strconv.ParseBool(list)
				if err != nil {
					return &engines.Error{Kind: engines.ErrInvalid}
				}
				if asked {
					call.Operation = engines.List
				}
			}
			query.Del("help")
			query.Del("list")
		}
		call.Params = queryParams(query)
	}
	if call.Operation == engines.List && !strings.HasSuffix(call.Path, "/") {
		call.Path += "/"
	}
	return nil
}

func queryParams(query url.Values) map[string]any {
	if len(query) == 0 {
		return nil
	}
	params := make(map[string]any, len(query))
	for name, values := range query {
		if len(values) == 1 {
			params[name] = values[0]
			continue
		}
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		params[name] = list
	}
	return params
}

func (a *api) decodeWrite(
	ctx context.Context, w http.ResponseWriter, r *http.Request, call *core.Call,
) (in *intake, err error) {
	if call.Operation == engines.Patch {
		media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil {
			return nil, engines.Invalid("%v", err)
		}
		if media != mergePatch {
			return nil, &engines.Error{Kind: errMediaType,
				Message: "PATCH requires Content-Type of " + mergePatch + ", provided " + media}
		}
	}
	call.Params, in, err = a.readBody(ctx, w, r, call)
	return in, err
}

func writes(op engines.Operation) bool { return op == engines.Update || op == engines.Patch }

// readBody reads the parameters in the body of a call.
func (a *api) readBody(
	ctx context.Context, w http.ResponseWriter, r *http.Request, call *core.Call,
) (map[string]any, *intake, error) {
	if !hasBody(r) {
		return nil, nil, nil
	}
	in, err := a.receive(ctx, w, r, func(ctx context.Context) (*pool, int64, error) {
		open, err := a.Core.Admit(ctx, *call)
		switch {
		case err != nil:
			return nil, 0, err
		case open:
			return a.Bodies.open, openText, nil
		default:
			return a.Bodies.large, a.MaxRequestSize, nil
		}
	})
	if err != nil {
		return nil, in, err
	}
	params, err := in.params(parser{limits: a.JSON})
	if err == nil {
		err = in.reserve(ctx)
	}
	return params, in, err
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.ContentLength != 0 }

// clientToken reads X-Vault-Token or, without one, the bearer token (RFC 6750).
func clientToken(r *http.Request) engines.Token {
	if token := first(r.Header, tokenHeader); token != "" {
		return engines.NewToken(token)
	}
	for _, header := range r.Header["Authorization"] {
		if token, ok := strings.CutPrefix(header, "Bearer "); ok {
			return engines.NewToken(strings.TrimSpace(token))
		}
	}
	return engines.Token{}
}

func client(r *http.Request) engines.Client {
	c := engines.Client{Header: r.Header}
	if r.TLS != nil {
		c.Secure, c.Chain = true, r.TLS.PeerCertificates
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Addr, c.Port = addr.Addr().Unmap(), int(addr.Port())
	}
	return c
}

// newRequestID returns a random UUID, version 4 (RFC 9562). It names a request and protects nothing.
func newRequestID() string {
	var b [16]byte
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rand.Uint64()) //nolint:gosec // an identifier, not a secret
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var text [36]byte
	hex.Encode(text[0:8], b[0:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:36], b[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
