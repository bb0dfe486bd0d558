package approle

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"

	"coffer/auth/strictjson"
)

// Reasons for which metadata is refused. The first is in Vault's words; Vault takes the last of several equal keys, and
// changes what is not UTF-8.
var (
	errPairs = errors.New("invalid <key,value> format")
	errTwice = errors.New("a key is there twice")
	errText  = errors.New("it is not UTF-8")
)

// parseMetadata reads the metadata of a secret id, which Vault takes as text: an object in JSON or pairs k=v,
// either in base64 or plain.
func parseMetadata(text string) (map[string]string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return map[string]string{}, nil
	}
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil && len(decoded) > 0 {
		text = string(decoded)
	}
	object, err := strictjson.Texts([]byte(text))
	switch {
	case err == nil:
		return object, nil
	case errors.Is(err, strictjson.ErrAmbiguous), errors.Is(err, strictjson.ErrNotUnicode):
		return nil, err
	}
	m := make(map[string]string)
	for pair := range strings.SplitSeq(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, errPairs
		}
		if _, twice := m[key]; twice {
			return nil, errTwice
		}
		m[key] = strings.TrimSpace(value)
	}
	if !utf8.ValidString(text) {
		return nil, errText
	}
	return m, nil
}
