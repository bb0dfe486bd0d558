package audit

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"coffer/engines"
)

// What an entry shows of a request's parameters, and of an answer's data, in bytes of the line. Each value takes 80 of
// them however small it is, so that a body of 60 KB would take 2 MB. What is larger is shown as a digest.
const (
	// roomOfCallers is for requests with a good token.
	roomOfCallers = 16 << 10
	// roomOfStrangers is for those without one, who may send as many as they like.
	roomOfStrangers = 4 << 10
	// roomOfNames is for a list of names, as of policies, or metadata.
	roomOfNames = 16 << 10
	// maxText is the longest text that is shown, and shortened what is shown of a longer one.
	maxText, shortened = 4 << 10, 1 << 10
)

// sizeOfHash is what a value takes that is replaced, with its punctuation, and sizeOfDigest a digest.
const (
	sizeOfHash   = len(hashPrefix) + 64 + 4
	sizeOfDigest = 128
)

// digest stands for a value that is too large for an entry.
type digest struct {
	// Bytes is the length of the value as compact JSON with sorted keys, and Digest the HMAC of that.
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// digest returns what stands for a value. One is made at a time: it sorts the names of each object.
func (h *hasher) digest(value any) digest {
	h.digesting.Lock()
	defer h.digesting.Unlock()
	w := h.writer()
	defer h.put(w)
	w.value(value)
	d := digest{Bytes: w.written}
	d.Digest = w.end()
	return d
}

// measure returns how many bytes a value takes in the line at most, or more than room as soon as that is certain.
// Values of types that only encoding/json knows count as nothing: encoded looks at them.
func (r *redactor) measure(value any, plain bool, room int) int {
	switch v := value.(type) {
	case string:
		return measureText(r, v, plain)
	case json.Number:
		return measureText(r, string(v), plain)
	case []string:
		n := 2
		for i := 0; i < len(v) && n <= room; i++ {
			n += measureText(r, v[i], plain)
		}
		return n
	case []any:
		n := 2
		for i := 0; i < len(v) && n <= room; i++ {
			n += r.measure(v[i], plain, room-n)
		}
		return n
	case map[string]any:
		n := 2
		for key, member := range v {
			if n += sizeOfText(key); n > room {
				break
			}
			n += r.measure(member, r.isPlain(key), room-n)
		}
		return n
	case map[string]string:
		n := 2
		for key, member := range v {
			if n += sizeOfText(key) + measureText(r, member, r.isPlain(key)); n > room {
				break
			}
		}
		return n
	case json.RawMessage:
		return r.measureJSON(v, plain, room)
	default:
		return 32
	}
}

// measureJSON is measure for JSON.
func (r *redactor) measureJSON(text []byte, plain bool, room int) int {
	n := 0
	for i := 0; i < len(text) && n <= room; {
		switch c := text[i]; {
		case c == '"':
			s := text[i : i+engines.EndOfString(text[i:])]
			i += len(s)
			if i < len(text) && text[i] == ':' {
				plain = r.isPlainJSON(s)
				n += sizeOfText(s)
			} else {
				n += measureText(r, s, plain)
			}
		case c == '-' || c >= '0' && c <= '9':
			for i < len(text) && strings.IndexByte("+-.0123456789Ee", text[i]) >= 0 {
				i++
			}
			n += sizeOfHash
		default:
			n++
			i++
		}
	}
	return n
}

func measureText[T string | []byte](r *redactor, s T, plain bool) int {
	if plain || r.raw {
		return sizeOfText(s)
	}
	return sizeOfHash
}

// sizeOfText is the length of a text as the line shows it, at most: some bytes become escapes of six.
func sizeOfText[T string | []byte](s T) int {
	n := len(s) + 4
	if len(s) > roomOfCallers {
		return n
	}
	for i := range len(s) {
		if escaped(s[i]) {
			n += 5
		}
	}
	return n
}

// escaped reports whether a byte of a text may become an escape.
func escaped(c byte) bool {
	switch c {
	case '"', '\\', '<', '>', '&', '$', '`':
		return true
	default:
		return c < ' ' || c >= 0x7f
	}
}

func (r *redactor) isPlain(key string) bool { return len(r.plain) > 0 && slices.Contains(r.plain, key) }

// isPlainJSON is isPlain for a name as JSON has it.
func (r *redactor) isPlainJSON(name []byte) bool {
	var key string
	return len(r.plain) > 0 && json.Unmarshal(name, &key) == nil && r.isPlain(key)
}

// bounded copies the parameters of a request or the data of an answer as object does. A member that is too large for
// the entry is shown as a digest, and so is the whole where there is no room for the rest.
func (r *redactor) bounded(m map[string]any) any {
	if len(m) == 0 {
		return nil
	}
	large := make([]string, 0, 4)
	n := 0
	for key, value := range m {
		n += sizeOfText(key)
		size := r.measure(value, r.isPlain(key), r.room)
		if size > r.room {
			size = sizeOfDigest
			large = append(large, key)
		}
		if n += size; n > r.room {
			return r.digest(m)
		}
	}
	if len(large) == 0 {
		return r.object(m)
	}
	redacted := make(map[string]any, len(m))
	for key, value := range m {
		if slices.Contains(large, key) {
			redacted[key] = r.digest(value)
		} else {
			redacted[key] = r.value(value, r.isPlain(key))
		}
	}
	return redacted
}

// boundedJSON is bounded for an object that is JSON already.
func (r *redactor) boundedJSON(object json.RawMessage) any {
	if r.measureJSON(object, false, r.room) <= r.room {
		if m, ok := r.encoded(object, false).(map[string]any); ok && len(m) > 0 {
			return m
		}
		return nil
	}
	large := make(map[string]json.RawMessage)
	small := []byte{'{'}
	n := 0
	engines.JSONMembers(object, func(name, value []byte) bool {
		n += sizeOfText(name)
		size := r.measureJSON(value, r.isPlainJSON(name), r.room)
		if size > r.room {
			size = sizeOfDigest
			var key string
			if json.Unmarshal(name, &key) == nil {
				large[key] = value
			}
		} else if n+size <= r.room {
			small = append(append(append(append(small, name...), ':'), value...), ',')
		}
		n += size
		return n <= r.room
	})
	redacted, ok := r.encoded(append(bytes.TrimSuffix(small, []byte{','}), '}'), false).(map[string]any)
	if !ok || n == 0 || n > r.room {
		return r.digest(object)
	}
	for key, value := range large {
		redacted[key] = r.digest(value)
	}
	return redacted
}

// names is a list of names, or one hash of all of them, with commas between, where the list is too long.
func (r *redactor) names(list []string) []string {
	if sizeOfNames(list) <= roomOfNames {
		return list
	}
	w := r.writer()
	defer r.put(w)
	for i, name := range list {
		if i > 0 {
			w.string(",")
		}
		w.string(name)
	}
	return []string{w.end()}
}

func sizeOfNames(list []string) int {
	n := 0
	for i := 0; i < len(list) && n <= roomOfNames; i++ {
		n += sizeOfText(list[i])
	}
	return n
}

// union is names of both lists together, sorted, without those that repeat; unsorted where they are too long.
func (r *redactor) union(a, b []string) []string {
	both := slices.Concat(a, b)
	if sizeOfNames(both) <= roomOfNames {
		slices.Sort(both)
		both = slices.Compact(both)
	}
	return r.names(both)
}

// metadata is a token's, or a digest of it where that is too large.
func (r *redactor) metadata(m map[string]string) any {
	n := 0
	for key, value := range m {
		n += sizeOfText(key) + sizeOfText(value)
	}
	switch {
	case len(m) == 0:
		return nil
	case n > roomOfNames:
		return r.digest(m)
	default:
		return m
	}
}

// value writes JSON, keys sorted.
func (w *macWriter) value(value any) {
	switch v := value.(type) {
	case nil:
		w.string("null")
	case bool:
		w.string(strconv.FormatBool(v))
	case string:
		w.quoted(v)
	case json.Number:
		w.string(string(v))
	case json.RawMessage:
		w.bytes(v)
	case []string:
		w.list(len(v), func(i int) { w.quoted(v[i]) })
	case []any:
		w.list(len(v), func(i int) { w.value(v[i]) })
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		w.object(keys, func(key string) { w.value(v[key]) })
	case map[string]string:
		keys := slices.Sorted(maps.Keys(v))
		w.object(keys, func(key string) { w.quoted(v[key]) })
	case time.Time:
		w.quoted(v.Format(time.RFC3339Nano))
	default:
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte("null")
		}
		w.bytes(text)
	}
}

func (w *macWriter) list(n int, item func(i int)) {
	w.string("[")
	for i := range n {
		if i > 0 {
			w.string(",")
		}
		item(i)
	}
	w.string("]")
}

func (w *macWriter) object(keys []string, member func(key string)) {
	w.string("{")
	for i, key := range keys {
		if i > 0 {
			w.string(",")
		}
		w.quoted(key)
		w.string(":")
		member(key)
	}
	w.string("}")
}

// quoted writes a JSON string as encoding/json does, a part at a time.
func (w *macWriter) quoted(s string) {
	if sizeOfText(s) == len(s)+4 && len(s) <= roomOfCallers {
		w.string(`"`)
		w.string(s)
		w.string(`"`)
		return
	}
	w.string(`"`)
	for len(s) > 0 {
		n := min(len(s), len(w.buffer))
		for cut := n; n < len(s) && cut > n-utf8.UTFMax; cut-- {
			if utf8.RuneStart(s[cut]) {
				n = cut
				break
			}
		}
		text, err := json.Marshal(s[:n])
		if err != nil { // a string always has JSON
			text = []byte(`""`)
		}
		w.bytes(text[1 : len(text)-1])
		s = s[n:]
	}
	w.string(`"`)
}
