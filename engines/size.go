package engines

import "encoding/json"

// JSONSize is a lower bound of the length in bytes that v has as JSON, for values that were decoded from JSON. An
// engine asks it before it encodes what may be too large to store.
func JSONSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + len(`""`)
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
			n += len(key) + len(`"":`) + JSONSize(item)
		}
		return n
	default:
		return 1
	}
}
