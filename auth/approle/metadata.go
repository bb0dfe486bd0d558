package approle

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

var errPairs = errors.New("invalid <key,value> format")

// parseMetadata reads the metadata of a secret id, which Vault takes as text: an object in JSON or pairs k=v,
// either in base64 or plain.
func parseMetadata(text string) (map[string]string, error) {
	m := make(map[string]string)
	text = strings.TrimSpace(text)
	if text == "" {
		return m, nil
	}
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil && len(decoded) > 0 {
		text = string(decoded)
	}
	if json.Unmarshal([]byte(text), &m) == nil && m != nil {
		return m, nil
	}
	clear(m)
	if m == nil {
		m = make(map[string]string)
	}
	for pair := range strings.SplitSeq(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, errPairs
		}
		m[key] = strings.TrimSpace(value)
	}
	return m, nil
}
