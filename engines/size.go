package engines

import (
	"encoding/json"
	"unicode/utf8"
)

// JSONSize is a lower bound of the length in bytes that v has as JSON, for values that were decoded from JSON. An
// engine asks it before it encodes what may be too large to store. Only numbers may turn out longer.
func JSONSize(v any) int {
	switch v := v.(type) {
	case string:
		return TextSize(v)
	case json.Number:
		return 1 // it may be written in another form
	case []any:
		n := len(`[]`) + max(0, len(v)-1)
		for _, item := range v {
			n += JSONSize(item)
		}
		return n
	case map[string]any:
		n := len(`{}`) + max(0, len(v)-1)
		for key, item := range v {
			n += TextSize(key) + len(`:`) + JSONSize(item)
		}
		return n
	default:
		return 1
	}
}

// longEscape is the length in bytes of \u003c.
const longEscape = 6

// TextSize is the length in bytes that s has as a JSON string, quotes included, as encoding/json writes it: up to six
// times its own.
func TextSize[T string | []byte](s T) int {
	n := len(s) + len(`""`)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			r, size := decodeRune(s[i:])
			if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
				n += longEscape - size
			}
			i += size - 1
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\b', c == '\f':
			n++
		case c < ' ', c == '<', c == '>', c == '&':
			n += longEscape - 1
		}
	}
	return n
}

func decodeRune[T string | []byte](s T) (rune, int) {
	return utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)]))
}
