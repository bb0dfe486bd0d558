package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// jsonReader builds the same tree from JSON that parseHCL builds from HCL. The HCL library reads JSON
// too, but forgets the lines and drops booleans in lists.
type jsonReader struct {
	file string
	src  []byte
	dec  *json.Decoder
	// line is the number of the line at offset, so that lines are counted once over the whole file.
	line   int
	offset int64
}

func parseJSON(file string, src []byte) ([]entry, error) {
	r := &jsonReader{file: file, src: src, dec: json.NewDecoder(bytes.NewReader(src)), line: 1}
	r.dec.UseNumber()
	root, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, r.fail("text after the end of the JSON object")
	}
	return root.entries, nil
}

// position is where the last token ended.
func (r *jsonReader) position() Position {
	end := min(r.dec.InputOffset(), int64(len(r.src)))
	r.line += bytes.Count(r.src[r.offset:end], []byte("\n"))
	r.offset = end
	return Position{File: r.file, Line: r.line}
}

func (r *jsonReader) fail(reason string) error {
	return &Error{Position: r.position(), Reason: reason}
}

func (r *jsonReader) token() (json.Token, error) {
	t, err := r.dec.Token()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, r.fail("unexpected end of the JSON text")
	case err != nil:
		return nil, r.fail("malformed JSON: " + err.Error() + jsonHint(err.Error()))
	default:
		return t, nil
	}
}

// jsonHint is what was probably meant by what the library refused.
func jsonHint(reason string) string {
	for _, hint := range []struct{ part, say string }{
		{"in literal", `the values without quotes are numbers, true, false and null; all others stand in double quotes`},
		{"invalid character '}' looking for beginning of object key", "a comma before the } must go"},
		{"invalid character '}'", "a comma before the } must go, or a value is missing"},
		{"invalid character ']' looking for beginning of value", "a comma before the ] must go"},
		{"after object key:value pair", "a comma is missing before it"},
		{"after array element", "a comma is missing before it"},
		{"after object key", `a ":" is missing after the key`},
		{"invalid character '/'", "JSON has no comments, and texts stand in double quotes"},
		{"invalid character '#'", "JSON has no comments"},
		{`invalid character '\''`, `texts stand in double quotes; write " in place of '`},
		// The first bytes of what is not ASCII, as the library shows them.
		{"invalid character '\u00e2'", `probably typographic quotes; write straight ones: "`},
		{"invalid character '\u00c2'", "a space that is none of ASCII; write an ordinary space"},
		{"looking for beginning of value", `texts stand in double quotes; write "…"`},
		{"invalid character", `keys stand in double quotes; write "key": …`},
	} {
		if strings.Contains(reason, hint.part) {
			return ": " + hint.say
		}
	}
	return ""
}

func (r *jsonReader) value(depth int) (value, error) {
	t, err := r.token()
	if err != nil {
		return value{}, err
	}
	v := value{pos: r.position()}
	switch t := t.(type) {
	case string:
		v.kind, v.text = kindString, t
	case json.Number:
		v.kind, v.text = kindNumber, t.String()
	case bool:
		v.kind, v.text = kindBool, "false"
		if t {
			v.text = "true"
		}
	case json.Delim:
		if depth >= maxDepth {
			return value{}, r.fail(errTooDeep.Error())
		}
		if t == '[' {
			return r.list(v, depth)
		}
		return r.block(v, depth)
	default:
		v.kind = kindNull
	}
	return v, nil
}

func (r *jsonReader) list(v value, depth int) (value, error) {
	v.kind = kindList
	for r.dec.More() {
		element, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, element)
	}
	_, err := r.token()
	return v, err
}

func (r *jsonReader) block(v value, depth int) (value, error) {
	v.kind = kindBlock
	for r.dec.More() {
		t, err := r.token()
		if err != nil {
			return value{}, err
		}
		key, ok := t.(string)
		if !ok {
			return value{}, r.fail("expected a key")
		}
		e := entry{key: key, pos: r.position()}
		if e.value, err = r.value(depth + 1); err != nil {
			return value{}, err
		}
		v.entries = append(v.entries, e)
	}
	_, err := r.token()
	return v, err
}
