package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"slices"
	"sync"
	"time"

	"coffer/engines"
	"coffer/server/sys"
)

// keySize is the length of a device's HMAC key in bytes (RFC 2104).
const keySize = 32

// hasher replaces sensitive texts by "hmac-sha256:" and the hex HMAC-SHA-256 under the device's key.
type hasher struct {
	pool sync.Pool
	// digesting is held while a digest is made.
	digesting sync.Mutex
}

func newHasher(key []byte) *hasher {
	key = slices.Clone(key)
	return &hasher{pool: sync.Pool{New: func() any { return &macWriter{mac: hmac.New(sha256.New, key)} }}}
}

const hashPrefix = "hmac-sha256:"

// text returns the replacement of a text.
func (h *hasher) text(s string) string {
	w := h.writer()
	defer h.put(w)
	w.string(s)
	return w.end()
}

// writer returns one that nothing was written to; put takes it back.
func (h *hasher) writer() *macWriter {
	w, ok := h.pool.Get().(*macWriter)
	if !ok { // the pool has nothing else
		panic("audit: no HMAC")
	}
	return w
}

func (h *hasher) put(w *macWriter) { h.pool.Put(w) }

// macWriter makes an HMAC of texts of any length without copying them.
type macWriter struct {
	mac hash.Hash
	// written counts the bytes, those in the buffer included.
	written int64
	buffer  [512]byte
	used    int
	sum     [sha256.Size]byte
	out     [len(hashPrefix) + 2*sha256.Size]byte
}

func (w *macWriter) string(s string) {
	w.written += int64(len(s))
	for len(s) > 0 {
		n := copy(w.buffer[w.used:], s)
		s = s[n:]
		w.advance(n)
	}
}

func (w *macWriter) bytes(b []byte) {
	w.written += int64(len(b))
	if len(b) >= len(w.buffer) {
		w.flush()
		w.mac.Write(b)
		return
	}
	for len(b) > 0 {
		n := copy(w.buffer[w.used:], b)
		b = b[n:]
		w.advance(n)
	}
}

func (w *macWriter) advance(n int) {
	if w.used += n; w.used == len(w.buffer) {
		w.flush()
	}
}

func (w *macWriter) flush() {
	w.mac.Write(w.buffer[:w.used])
	w.used = 0
}

// end returns the replacement of what was written, and forgets that.
func (w *macWriter) end() string {
	w.flush()
	clear(w.buffer[:])
	copy(w.out[:], hashPrefix)
	hex.Encode(w.out[len(hashPrefix):], w.mac.Sum(w.sum[:0]))
	w.mac.Reset()
	w.written = 0
	return string(w.out[:])
}

// redactor copies values with their texts replaced.
type redactor struct {
	*hasher
	// plain are the keys whose own texts are shown (audit_non_hmac_*_keys), at any depth.
	plain []string
	// raw shows everything that there is room for.
	raw bool
	// room is how many bytes of the line the parameters of the request may take, and the data of the answer.
	room int
}

// object copies a map. Texts and numbers of a JSON body are replaced; booleans, nulls, times and numbers
// that the server made are not. Keys are shown.
func (r *redactor) object(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	redacted := make(map[string]any, len(m))
	for key, value := range m {
		redacted[key] = r.value(value, r.isPlain(key))
	}
	return redacted
}

// value copies one value. With plain its own texts, and those of a list, are shown.
func (r *redactor) value(value any, plain bool) any {
	switch v := value.(type) {
	case nil, bool, int, int32, int64, uint64, float64, time.Time:
		return v
	case string:
		return r.shown(v, plain)
	case json.Number:
		if plain || r.raw {
			return v
		}
		return r.text(v.String())
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = r.shown(v[i], plain)
		}
		return list
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = r.value(v[i], plain)
		}
		return list
	case map[string]any:
		return r.object(v)
	case map[string]string:
		m := make(map[string]any, len(v))
		for key := range v {
			m[key] = r.shown(v[key], r.isPlain(key))
		}
		return m
	case json.RawMessage:
		return r.encoded(v, plain)
	default:
		return r.other(v, plain)
	}
}

func (r *redactor) shown(s string, plain bool) string {
	if plain || r.raw {
		return r.clear(s)
	}
	return r.text(s)
}

// encoded reads JSON and replaces its texts. What cannot be read is replaced as a whole.
func (r *redactor) encoded(text []byte, plain bool) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return r.text(string(text))
	}
	return r.value(value, plain)
}

// other goes through JSON for types it does not know.
func (r *redactor) other(value any, plain bool) any {
	text, err := json.Marshal(value)
	if err != nil {
		return r.text("")
	}
	if r.measureJSON(text, plain, r.room) > r.room {
		return r.digest(json.RawMessage(text))
	}
	return r.encoded(text, plain)
}

// elide replaces the names of a list answer by their number.
func elide(data map[string]any) map[string]any {
	elided := make(map[string]any, len(data))
	for key, value := range data {
		elided[key] = value
		if key == "keys" || key == "key_info" {
			if n, ok := length(value); ok {
				elided[key] = n
			}
		}
	}
	return elided
}

func length(value any) (int, bool) {
	switch v := value.(type) {
	case []string:
		return len(v), true
	case []any:
		return len(v), true
	case map[string]any:
		return len(v), true
	default:
		return 0, false
	}
}

// headerValues returns the configured headers of a request, by lower-case name. Those that carry secrets are hashed
// whatever the configuration says.
func (r *redactor) headerValues(header map[string][]string, configured map[string]bool) map[string][]string {
	if len(header) == 0 || len(configured) == 0 {
		return nil
	}
	var shown map[string][]string
	for name, values := range header {
		lower := engines.FoldASCII(name)
		hashed, ok := configured[lower]
		if !ok {
			continue
		}
		if shown == nil {
			shown = make(map[string][]string, len(configured))
		}
		for _, value := range values {
			shown[lower] = append(shown[lower], r.shown(value, !hashed && !sys.SecretHeader(lower)))
		}
		shown[lower] = r.names(shown[lower])
	}
	return shown
}
