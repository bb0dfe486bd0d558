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
type hasher struct{ pool sync.Pool }

func newHasher(key []byte) *hasher {
	key = slices.Clone(key)
	return &hasher{pool: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

const hashPrefix = "hmac-sha256:"

// text returns the replacement of a text.
func (h *hasher) text(s string) string {
	mac, ok := h.pool.Get().(hash.Hash)
	if !ok {
		return hashPrefix
	}
	defer h.pool.Put(mac)
	mac.Reset()
	mac.Write([]byte(s))
	var sum [sha256.Size]byte
	var out [len(hashPrefix) + 2*sha256.Size]byte
	copy(out[:], hashPrefix)
	hex.Encode(out[len(hashPrefix):], mac.Sum(sum[:0]))
	return string(out[:])
}

// redactor copies values with their texts replaced.
type redactor struct {
	*hasher
	// plain are the keys whose own texts are shown (audit_non_hmac_*_keys), at any depth.
	plain []string
	// raw shows everything.
	raw bool
}

// object copies a map. Texts and numbers of a JSON body are replaced; booleans, nulls, times and numbers
// that the server made are not. Keys are shown.
func (r *redactor) object(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	redacted := make(map[string]any, len(m))
	for key, value := range m {
		redacted[key] = r.value(value, slices.Contains(r.plain, key))
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
			m[key] = r.shown(v[key], slices.Contains(r.plain, key))
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
	}
	return shown
}
