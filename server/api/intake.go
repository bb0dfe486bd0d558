package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"coffer/engines"
)

var (
	// errUnavailable is the kind of errBusy (503).
	errUnavailable = errors.New("the server is busy")
	// errSlow is returned for a body that does not arrive in time (408).
	errSlow = errors.New("the body did not arrive in time")
	// errTooLarge is returned for a body over the limit (413), in Vault's words.
	errTooLarge = &engines.Error{Kind: engines.ErrTooLarge, Message: "http: request body too large"}
)

// valueRoom is what a handler may take beside the decoded body, in multiples of the text: the value as it is
// stored, encrypted, and in the page of the file. A value ends at valueText bytes of text.
const (
	valueRoom = 3
	valueText = 8 << 20
)

// admission says what may be read of a body that is not small. It returns the pool that pays for the body and the size
// in bytes where it ends, or why the request is refused whatever the body says.
type admission func(ctx context.Context) (*pool, int64, error)

// intake is the body of one request on its way in.
type intake struct {
	gate *BodyGate
	// share pays for text and for what was decoded from it.
	share *share
	w     http.ResponseWriter
	r     *http.Request
	// text are the chunks that have arrived; size is their length together, held what they take.
	text       [][]byte
	size, held int64
	meter      meter
	// cost is what decoding the text takes.
	cost int64
	pace *pace
	// broken is why the rest of the body did not come; nil while it does.
	broken error
	// secrets are texts to wipe when the request is answered.
	secrets [][]byte
}

// receive reads the body of a request. When it is not small it asks admit first. The caller calls release in any case,
// when what was decoded from the body is needed no more.
func (a *api) receive(ctx context.Context, w http.ResponseWriter, r *http.Request, admit admission) (*intake, error) {
	in := &intake{gate: a.Bodies, w: w, r: r, share: a.Bodies.tiny.open(networkOf(r)), pace: newPace(w)}
	in.share.hurry = in.pace.hurry
	err := in.read(ctx, a.MaxRequestSize, admit)
	if err != nil {
		in.refuse()
		if in.broken != nil {
			// Anybody can cause it, and it is nobody's fault but the client's or the network's.
			a.Logger.Debug("the body of a request did not arrive", "client", clientOf(r), "method", r.Method,
				"bytes", in.size, "announced", r.ContentLength, "error", cause(in.broken))
		}
	} else {
		in.share.received()
		in.pace.end()
	}
	return in, err
}

// refuse makes the connection end with the answer, because the rest of the body is on it.
func (in *intake) refuse() {
	in.w.Header()["Connection"] = []string{"close"}
	in.pace.abandon()
}

func (in *intake) read(ctx context.Context, limit int64, admit admission) error {
	length := in.r.ContentLength
	if length > limit {
		return errTooLarge
	}
	if length <= smallText {
		ended, err := in.small(ctx, length, limit)
		if err != nil {
			return err
		}
		if ended {
			if in.held+in.cost <= smallCost {
				return in.share.take(ctx, in.cost)
			}
			return in.move(ctx, in.gate.dense, in.cost)
		}
	}
	pool, most, err := admit(ctx)
	if err != nil {
		return err
	}
	limit = min(limit, most)
	if length > limit {
		return errTooLarge
	}
	if err := in.move(ctx, pool, in.cost); err != nil {
		return err
	}
	for ended := false; !ended; {
		if ended, err = in.chunk(ctx, longChunk); err != nil {
			return err
		}
		if in.size > limit {
			return errTooLarge
		}
	}
	return nil
}

// small reads up to smallText bytes. It reports whether the body has ended.
func (in *intake) small(ctx context.Context, length, limit int64) (ended bool, err error) {
	for _, room := range [...]int64{shortChunk, longChunk} {
		if room < longChunk && length > room {
			continue
		}
		if room == longChunk {
			if err = in.move(ctx, in.gate.small, 0); err != nil {
				return false, err
			}
		}
		if ended, err = in.chunk(ctx, room); ended || err != nil {
			break
		}
	}
	if err == nil && in.size > limit {
		err = errTooLarge
	}
	return ended, err
}

// move makes another pool pay for the body, and for cost besides.
func (in *intake) move(ctx context.Context, to *pool, cost int64) error {
	next := to.open(in.share.client)
	next.hurry = in.pace.hurry
	if err := next.take(ctx, in.held+cost); err != nil {
		return err
	}
	in.share.release()
	in.share = next
	return nil
}

// chunk reads the next one, of room bytes, and reports whether it was the last. What it costs is taken from the share
// unless the body is small so far: then only the text is.
func (in *intake) chunk(ctx context.Context, room int64) (ended bool, err error) {
	if err := in.share.take(ctx, room); err != nil {
		return false, err
	}
	in.held += room
	b := newChunk(room)
	b, err = in.fill(b)
	in.text = append(in.text, b)
	ended = errors.Is(err, io.EOF)
	if err != nil && !ended {
		in.broken, in.size = err, in.size+int64(len(b))
		return false, wrongBody(err)
	}
	if in.size == 0 {
		in.meter.form = isForm(in.r, b)
	}
	in.size += int64(len(b))
	cost := in.meter.add(b)
	in.cost += cost
	if in.isSmall() {
		return ended, nil
	}
	return ended, in.share.take(ctx, cost)
}

// fill reads until b is full or the body ends, which is io.EOF.
func (in *intake) fill(b []byte) ([]byte, error) {
	for len(b) < cap(b) {
		in.share.receive()
		in.pace.resume()
		n, err := in.r.Body.Read(b[len(b):cap(b)])
		in.pace.stop(n)
		b = b[:len(b)+n]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// isSmall reports whether the body is small so far.
func (in *intake) isSmall() bool {
	return in.share.pool == in.gate.tiny || in.share.pool == in.gate.small
}

// wrongBody is the answer to an error of reading a body.
func wrongBody(err error) error {
	var network net.Error
	switch {
	case errors.As(err, &network) && network.Timeout():
		return errSlow
	default:
		return engines.Invalid("malformed request body: %v", cause(err))
	}
}

// cause is what of an error is about the body, not about addresses.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// params decodes the body: a JSON object or, where the content type says so, a form. The text is wiped.
func (in *intake) params(p parser) (map[string]any, error) {
	defer in.dropText()
	if in.size > smallText {
		in.gate.decoding.Lock()
		defer in.gate.decoding.Unlock()
	}
	if in.meter.form {
		return in.fields(p.limits)
	}
	params, err := p.decode(in.text, func([]byte) {
		dropChunk(in.text[0])
		in.text = in.text[1:]
	})
	in.secrets = p.secrets
	return params, err
}

// reserve takes what the handler may need beside the parameters, as far as one request may have it.
func (in *intake) reserve(ctx context.Context) error {
	if in.isSmall() {
		return nil
	}
	return in.share.take(ctx, in.share.most(valueRoom*min(in.size, valueText)))
}

// release gives everything back. It may be called more than once.
func (in *intake) release() {
	in.dropText()
	for _, s := range in.secrets {
		clear(s)
	}
	in.secrets = nil
	in.share.release()
}

func (in *intake) dropText() {
	for _, b := range in.text {
		dropChunk(b)
	}
	in.text = nil
}

// fields decodes a form (application/x-www-form-urlencoded).
func (in *intake) fields(limits JSONLimits) (map[string]any, error) {
	if in.size > int64(limits.StringLength) {
		return nil, errTooLarge
	}
	text := strings.TrimSpace(string(slices.Concat(in.text...)))
	if strings.Count(text, "&") >= limits.ObjectEntries {
		return nil, errForm
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, errForm
	}
	params := make(map[string]any, len(values))
	for name, list := range values {
		value := strings.Join(list, ",")
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, errFormUTF8
		}
		params[name] = value
	}
	return params, nil
}

var (
	errForm     = engines.Invalid("error parsing form data")
	errFormUTF8 = engines.Invalid("error parsing form data: a value is not UTF-8; send binary data in base64")
)

// clientOf is the address of the client, without its port.
func clientOf(r *http.Request) string {
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return addr.Addr().String()
	}
	return r.RemoteAddr
}

// networkOf is who counts as one client of a pool: an address, or a /64 of IPv6, which is what one household gets. All
// whose address is not known are one.
func networkOf(r *http.Request) netip.Prefix {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr := peer.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // no error: bits fit
	return network
}

// isForm reports whether a body that begins with b is a form: Vault takes what is JSON for JSON whatever its type says.
func isForm(r *http.Request, b []byte) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") &&
		len(b) > 0 && b[0] != '{' && b[0] != '['
}
