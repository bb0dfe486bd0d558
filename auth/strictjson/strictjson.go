// Package strictjson reads JSON from outside that decides about access: claims of tokens, answers of providers and API
// servers, keys. encoding/json matches the fields of structs without regard to case, and takes the last of several
// equal keys. Two programs can therefore read two things out of one text: one that was checked and one that is used.
//
// Here keys match exactly, and a text is refused in which an object has keys that repeat or are equal but for their
// case, as encoding/json folds it (Unicode simple folding, "ſub" for "sub"). RFC 8259, section 4, and RFC 7515, section
// 10.12, say why.
//
// A text with a string that is not Unicode is refused as well: encoding/json puts U+FFFD in the place of what it cannot
// read, and two names could become one.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	josejson "github.com/go-jose/go-jose/v4/json"
)

// maxDepth bounds how deep containers lie in one another.
const maxDepth = 100

// The reasons for which a text is refused. The errors that wrap them hold no part of the text.
var (
	// ErrSyntax is returned for what is not one JSON value, or is nested too deeply.
	ErrSyntax = errors.New("malformed JSON")
	// ErrAmbiguous is returned for an object with keys that could be taken for one another.
	ErrAmbiguous = errors.New("ambiguous JSON: keys of an object are equal, or equal but for their case")
	// ErrNotUnicode is returned for a string that is not UTF-8, or that has half of a surrogate pair.
	ErrNotUnicode = errors.New("malformed JSON: a string is not Unicode")
)

// Unmarshal decodes data into a struct, or what holds structs. Keys match the names of fields exactly; others are
// ignored. RawMessage of encoding/json is filled; numbers in an any are float64. The error of a value that has the
// wrong type is the decoder's, or that of an UnmarshalJSON.
func Unmarshal(data []byte, into any) error {
	if err := Check(data); err != nil {
		return err
	}
	return josejson.Unmarshal(data, into) //nolint:wrapcheck // it says what has the wrong type
}

// Object decodes data, which must be one JSON object. Numbers become json.Number. At its top no key may be equal to one
// of names but for its case: whoever reads those names finds them there or nowhere.
func Object(data []byte, names ...string) (map[string]any, error) {
	if err := Check(data, names...); err != nil {
		return nil, err
	}
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&object); err != nil || object == nil {
		return nil, fmt.Errorf("%w: no object", ErrSyntax)
	}
	return object, nil
}

// Check looks through the whole of data without decoding it. For an object names are as for Object. It is for texts
// that a library decodes in its own way.
func Check(data []byte, names ...string) error {
	folded := make(map[string]string, len(names))
	for _, name := range names {
		folded[fold(name)] = name
	}
	c := checker{dec: json.NewDecoder(bytes.NewReader(data)), names: folded}
	c.dec.UseNumber()
	if err := c.value(1); err != nil {
		return err
	}
	if _, err := c.dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: text after the value", ErrSyntax)
	}
	return Unicode(data)
}

// Unicode returns ErrNotUnicode for a JSON text in which a string is not Unicode. What it says of other texts means
// nothing.
func Unicode(data []byte) error {
	if !utf8.Valid(data) {
		return ErrNotUnicode
	}
	for i := 0; i+1 < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if i++; data[i] != 'u' {
			continue
		}
		r := escaped(data[i-1:])
		if !utf16.IsSurrogate(r) {
			continue
		}
		if i += 5; i >= len(data) || utf16.DecodeRune(r, escaped(data[i:])) == utf8.RuneError {
			return ErrNotUnicode
		}
		i++
	}
	return nil
}

// escaped is the character that an escape \u at the beginning of b stands for, or U+FFFD when there is none.
func escaped(b []byte) rune {
	const length = len(`\u0000`)
	if len(b) < length || b[0] != '\\' || b[1] != 'u' {
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(string(b[2:length]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// Texts decodes data, which must be one JSON object of strings. Keys that are equal but for their case are two keys.
func Texts(data []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, fmt.Errorf("%w: no object", ErrSyntax)
	}
	m := make(map[string]string)
	for d.More() {
		token, err := d.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return nil, ErrSyntax
		}
		if _, twice := m[key]; twice {
			return nil, ErrAmbiguous
		}
		token, err = d.Token()
		if err != nil {
			return nil, ErrSyntax
		}
		if m[key], ok = token.(string); !ok {
			return nil, fmt.Errorf("%w: a value is no string", ErrSyntax)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, ErrSyntax
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: text after the value", ErrSyntax)
	}
	return m, Unicode(data)
}

type checker struct {
	dec *json.Decoder
	// names are the names that count at the top, by their folded form.
	names map[string]string
}

func (c *checker) value(depth int) error {
	token, err := c.dec.Token()
	if err != nil {
		return ErrSyntax
	}
	switch token {
	case json.Delim('{'):
		return c.object(depth)
	case json.Delim('['):
		return c.rest(depth, func() error { return nil })
	default:
		return nil
	}
}

func (c *checker) object(depth int) error {
	seen := make(map[string]bool)
	return c.rest(depth, func() error {
		token, err := c.dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return ErrSyntax
		}
		name := fold(key)
		if want, known := c.names[name]; seen[name] || depth == 1 && known && want != key {
			return ErrAmbiguous
		}
		seen[name] = true
		return nil
	})
}

// rest reads the rest of a container; key reads what stands before each value.
func (c *checker) rest(depth int, key func() error) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d levels", ErrSyntax, maxDepth)
	}
	for c.dec.More() {
		if err := key(); err != nil {
			return err
		}
		if err := c.value(depth + 1); err != nil {
			return err
		}
	}
	if _, err := c.dec.Token(); err != nil {
		return ErrSyntax
	}
	return nil
}

// fold returns the form in which keys are equal that encoding/json takes for one another: each character is the first
// of those that Unicode's simple folding makes equal.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, key)
}
