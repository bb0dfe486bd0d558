package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"coffer/engines"
)

// JSONLimits bound a request body, as Vault's listener options of the same names do. All are above
// zero; the body's own size is bounded before.
type JSONLimits struct {
	Depth         int // max_json_depth, containers in one another
	StringLength  int // max_json_string_value_length, bytes
	ObjectEntries int // max_json_object_entry_count, keys of one object
	ArrayElements int // max_json_array_element_count, elements of one list
	Tokens        int // all values of a body together: many small ones cost far more memory than text
}

// DefaultJSONLimits are Vault's.
func DefaultJSONLimits() JSONLimits {
	return JSONLimits{Depth: 300, StringLength: 1 << 20, ObjectEntries: 10_000, ArrayElements: 10_000, Tokens: 500_000}
}

// decodeBody reads a JSON object. It checks the limits while it reads, so that a hostile body costs no
// more memory than they allow. Numbers become json.Number. An empty body gives a nil map.
//
// The errors are what Vault answers: 500 for what its scanner refuses, 400 for what its parser does.
func decodeBody(r io.Reader, limits JSONLimits) (map[string]any, error) {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	first, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, nil //nolint:nilnil // no body is no parameters
	}
	d := decoder{dec: dec, limits: limits}
	if err != nil {
		return nil, d.syntax(err, atTop, false)
	}
	value, err := d.value(first, 1)
	if err != nil {
		return nil, err
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	switch value := value.(type) {
	case map[string]any:
		return value, nil
	case nil:
		return nil, nil //nolint:nilnil // null is no parameters
	default:
		return nil, parseError(fmt.Errorf("json: cannot unmarshal %s into Go value of type map[string]interface {}",
			jsonType(value)))
	}
}

func jsonType(v any) string {
	switch v.(type) {
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "bool"
	default:
		return "number"
	}
}

func parseError(err error) error {
	return engines.Invalid("error parsing JSON: failed to parse JSON input: %v", err)
}

// decoder builds values from tokens.
type decoder struct {
	dec    *json.Decoder
	limits JSONLimits
	values int
}

// end refuses anything but space after the value.
func (d *decoder) end() error {
	next, err := d.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return engines.Failed("invalid character '%c' after top-level value", firstOf(next))
	case errors.As(err, &syntax):
		return engines.Failed("%s after top-level value", trimContext(syntax.Error()))
	default:
		return d.syntax(err, atTop, true)
	}
}

// firstOf is the character with which a token began.
func firstOf(t json.Token) rune {
	switch t := t.(type) {
	case json.Delim:
		return rune(t)
	case json.Number:
		return rune(t[0])
	case bool:
		if t {
			return 't'
		}
		return 'f'
	case string:
		return '"'
	default:
		return 'n'
	}
}

// trimContext keeps "invalid character 'x'" of a syntax error's text.
func trimContext(text string) string {
	const lead = "invalid character '"
	if len(text) > len(lead)+2 && text[:len(lead)] == lead {
		for i := len(lead) + 1; i < len(text); i++ {
			if text[i] == '\'' {
				return text[:i+1]
			}
		}
	}
	return "unexpected data"
}

func (d *decoder) value(t json.Token, depth int) (any, error) {
	if d.values++; d.values > d.limits.Tokens {
		return nil, engines.Failed("JSON payload exceeds allowed token count")
	}
	switch t := t.(type) {
	case json.Delim:
		if depth > d.limits.Depth {
			return nil, errTooDeep
		}
		if t == '{' {
			return d.object(depth)
		}
		return d.array(depth)
	case string:
		if len(t) > d.limits.StringLength {
			return nil, engines.Failed("JSON string value exceeds allowed length")
		}
		return t, nil
	default:
		return t, nil
	}
}

func (d *decoder) object(depth int) (map[string]any, error) {
	m := make(map[string]any)
	for {
		t, err := d.dec.Token()
		if err != nil {
			return nil, d.syntax(err, atKey, len(m) > 0)
		}
		if t == json.Delim('}') {
			return m, nil
		}
		key, ok := t.(string)
		if !ok {
			return nil, engines.Failed("malformed JSON, object key is not a string")
		}
		if len(m) == d.limits.ObjectEntries {
			return nil, engines.Failed("JSON object exceeds allowed entry count")
		}
		if len(key) > d.limits.StringLength {
			return nil, engines.Failed("JSON string value exceeds allowed length")
		}
		if _, twice := m[key]; twice {
			return nil, engines.Failed("duplicate key '%s' in object", key)
		}
		if t, err = d.dec.Token(); err != nil {
			return nil, d.syntax(err, atValue, true)
		}
		if m[key], err = d.value(t, depth+1); err != nil {
			return nil, err
		}
	}
}

func (d *decoder) array(depth int) ([]any, error) {
	list := []any{}
	for {
		t, err := d.dec.Token()
		if err != nil {
			return nil, d.syntax(err, atElement, len(list) > 0)
		}
		if t == json.Delim(']') {
			return list, nil
		}
		if len(list) == d.limits.ArrayElements {
			return nil, engines.Failed("JSON array exceeds allowed element count")
		}
		v, err := d.value(t, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}
