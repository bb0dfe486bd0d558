package api

import (
	"fmt"

	"coffer/engines"
)

// JSONLimits bound a request body, as Vault's listener options of the same names do. All are above
// zero; the body's own size is bounded before.
type JSONLimits struct {
	Depth         int // max_json_depth, containers in one another
	StringLength  int // max_json_string_value_length, bytes; of numbers as well
	ObjectEntries int // max_json_object_entry_count, keys of one object
	ArrayElements int // max_json_array_element_count, elements of one list
	Tokens        int // all values of a body together: many small ones cost far more memory than text
}

// DefaultJSONLimits are Vault's.
func DefaultJSONLimits() JSONLimits {
	return JSONLimits{Depth: 300, StringLength: 1 << 20, ObjectEntries: 10_000, ArrayElements: 10_000, Tokens: 500_000}
}

// decodeBody reads a JSON object out of the chunks of its text. Numbers become json.Number. An empty body gives a nil
// map.
//
// A body of several chunks is checked first. Then each chunk is given to consumed as soon as it is decoded, so that
// text and values together take no more than the larger of both.
//
// The errors are what Vault answers: 500 for what its scanner refuses, 400 for what its parser does.
func decodeBody(text [][]byte, limits JSONLimits, consumed func([]byte)) (map[string]any, error) {
	p := parser{limits: limits}
	return p.decode(text, consumed)
}

func (p *parser) decode(text [][]byte, consumed func([]byte)) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil //nolint:nilnil // no body is no parameters
	}
	if len(text) > 1 {
		check := parser{limits: p.limits, checking: true, buf: text[0], rest: text[1:]}
		if _, err := check.parse(); err != nil {
			return nil, err
		}
		p.consumed = consumed
	}
	p.buf, p.rest = text[0], text[1:]
	value, err := p.parse()
	if err != nil {
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
