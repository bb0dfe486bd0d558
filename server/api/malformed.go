package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"coffer/engines"
)

// Vault scans a body before it parses it, and the scan forgives much: commas and colons need not be where
// they belong. What the scan refuses is a 500 with its text, what only the parser refuses a 400 with that of
// encoding/json. Here the parser comes first. When it fails, encoding/json reads the text up to the same place, and
// the scan is made up for from there: the errors are those that Vault 1.21.2 was seen to answer.

// explained returns err, or what is wrong with the text if err is errSyntax.
func explained(err error, text [][]byte, limits JSONLimits) error {
	if !errors.Is(err, errSyntax) {
		return err
	}
	e := explainer{dec: json.NewDecoder(&condensed{text: slices.Clone(text)}), depth: limits.Depth}
	e.dec.UseNumber()
	if err := e.whole(); err != nil {
		return err
	}
	return parseError(errSyntax)
}

// condensed reads a text in chunks without white space that follows white space, of which encoding/json would keep any
// amount at a time.
type condensed struct {
	text                   [][]byte
	inText, escaped, blank bool
}

// Read implements io.Reader.
func (c *condensed) Read(p []byte) (n int, _ error) {
	for n < len(p) && len(c.text) > 0 {
		part := c.text[0]
		taken := 0
		for ; taken < len(part) && n < len(p); taken++ {
			if c.keeps(part[taken]) {
				p[n] = part[taken]
				n++
			}
		}
		if c.text[0] = part[taken:]; taken == len(part) {
			c.text = c.text[1:]
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (c *condensed) keeps(b byte) bool {
	switch {
	case c.escaped:
		c.escaped = false
	case c.inText:
		c.inText, c.escaped = b != '"', b == '\\'
	case b == ' ', b == '\t', b == '\n', b == '\r':
		again := c.blank
		c.blank = true
		return !again
	default:
		c.inText = b == '"'
	}
	c.blank = false
	return true
}

// explainer walks through a text up to its fault. The parser has found everything before the fault within the limits.
type explainer struct {
	dec *json.Decoder
	// depth is max_json_depth.
	depth int
}

// whole returns what is wrong with the text.
func (e *explainer) whole() error {
	first, err := e.dec.Token()
	if err != nil {
		return e.syntax(err, atTop, false)
	}
	if err := e.value(first); err != nil {
		return err
	}
	next, err := e.dec.Token()
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return engines.Failed("invalid character '%c' after top-level value", firstOf(next))
	case errors.As(err, &syntax):
		return engines.Failed("%s after top-level value", trimContext(syntax.Error()))
	default:
		return e.syntax(err, atTop, true)
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

func (e *explainer) value(t json.Token) error {
	switch t {
	case json.Delim('{'):
		return e.object()
	case json.Delim('['):
		return e.array()
	default:
		return nil
	}
}

func (e *explainer) object() error {
	for began := false; ; began = true {
		t, err := e.dec.Token()
		if err != nil {
			return e.syntax(err, atKey, began)
		}
		if t == json.Delim('}') {
			return nil
		}
		if _, ok := t.(string); !ok {
			return engines.Failed("malformed JSON, object key is not a string")
		}
		if t, err = e.dec.Token(); err != nil {
			return e.syntax(err, atValue, true)
		}
		if err := e.value(t); err != nil {
			return err
		}
	}
}

func (e *explainer) array() error {
	for began := false; ; began = true {
		t, err := e.dec.Token()
		if err != nil {
			return e.syntax(err, atElement, began)
		}
		if t == json.Delim(']') {
			return nil
		}
		if err := e.value(t); err != nil {
			return err
		}
	}
}

// place is where in a container the parser stopped.
type place int

const (
	atKey     place = iota // a key or the end of an object
	atValue                // the value after a key
	atElement              // an element or the end of a list
	atTop                  // the whole body
)

// syntax turns an error of the tokenizer into the answer. began tells whether the container had something in
// it before.
func (e *explainer) syntax(err error, at place, began bool) error {
	var wrong *json.SyntaxError
	cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if !cut && !errors.As(err, &wrong) {
		return err
	}
	if at == atTop && !cut {
		return parseError(wrong)
	}
	s := scan{at: at, depth: e.depth}
	if rest, ok := e.dec.Buffered().(io.ByteScanner); ok {
		s.in = rest
	} else {
		s.in = strings.NewReader("")
	}
	if !cut && began && at != atValue {
		// The tokenizer has taken the comma unless it was what it missed.
		text := wrong.Error()
		s.comma = !strings.HasSuffix(text, "after object key:value pair") && !strings.HasSuffix(text, "after array element")
	}
	if refused := s.run(); refused != nil {
		return refused
	}
	if cut {
		return errUnclosed
	}
	if text := wrong.Error(); at == atKey && strings.HasSuffix(text, "'") {
		return parseError(errors.New(text + " looking for beginning of object key string"))
	}
	return parseError(wrong)
}

var errTooDeep = engines.Failed("JSON input exceeds allowed nesting depth")

var errUnclosed = engines.Failed("malformed JSON, unclosed containers")

// scan looks at the rest of a container, whose parts before were in order.
type scan struct {
	in io.ByteScanner
	at place
	// comma is set when a comma came last.
	comma bool
	// depth is how many containers may follow in one another.
	depth int
}

// run returns what the scan refuses, nil when it finds nothing up to the end of the container, or of what is
// known of the body.
func (s *scan) run() error {
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return nil //nolint:nilerr // the end of what is known
		}
		switch {
		case c == ' ', c == '\t', c == '\n', c == '\r', c == ':':
		case c == ',':
			s.comma = true
			if s.at == atValue {
				s.at = atKey
			}
		case c == '}', c == ']':
			return s.closes(c)
		case c == '{', c == '[':
			if err := s.container(c); err != nil {
				return err
			}
		case c == '"':
			if err := s.text(); err != nil {
				return err
			}
			s.took(true)
		case c == '-', c >= '0' && c <= '9':
			if err := s.number(c); err != nil {
				return err
			}
			s.took(false)
		case c == 't', c == 'f', c == 'n':
			s.while(func(c byte) bool { return c >= 'a' && c <= 'z' })
			s.took(false)
		default:
			return engines.Failed("invalid character '%s' looking for beginning of value", s.character(c))
		}
	}
}

// container scans one that begins with c.
func (s *scan) container(c byte) error {
	if s.depth == 0 {
		return errTooDeep
	}
	inner := scan{in: s.in, at: atKey, depth: s.depth - 1}
	if c == '[' {
		inner.at = atElement
	}
	s.took(false)
	return inner.run()
}

// took notes a value, or a text that may be a key.
func (s *scan) took(text bool) {
	s.comma = false
	switch {
	case s.at == atKey && text:
		s.at = atValue
	case s.at == atValue:
		s.at = atKey
	}
}

// closes judges the end of the container.
func (s *scan) closes(c byte) error {
	switch {
	case s.at == atValue:
		return engines.Failed("invalid character '}' after object key")
	case s.at == atKey && s.comma:
		return engines.Failed("invalid character '}' after object key-value pair")
	case s.at == atElement && s.comma:
		return engines.Failed("invalid character ']' after array element")
	case (s.at == atElement) != (c == ']'):
		return engines.Failed("malformed JSON: mismatched closing delimiter '%c'", c)
	default:
		return nil
	}
}

// text reads a string up to its end.
func (s *scan) text() error {
	for {
		c, err := s.in.ReadByte()
		switch {
		case err != nil:
			return engines.Failed("malformed JSON, unclosed string")
		case c == '"':
			return nil
		case c != '\\':
			continue
		}
		if c, err = s.in.ReadByte(); err != nil {
			return engines.Failed("malformed JSON, unterminated escape sequence in string")
		}
		if !strings.ContainsRune(`"\/bfnrtu`, rune(c)) {
			return engines.Failed("invalid character '%s' in string escape code", s.character(c))
		}
		for digits := 0; c == 'u' && digits < 4; digits++ {
			h, err := s.in.ReadByte()
			if err != nil {
				return engines.Failed("malformed JSON, unterminated escape sequence in string")
			}
			if !strings.ContainsRune("0123456789abcdefABCDEF", rune(h)) {
				return engines.Failed("invalid character '%s' in string escape code", s.character(h))
			}
		}
	}
}

// longestNumber bounds what is kept of a number, in bytes; a longer one is no concern of the scan.
const longestNumber = 64

func (s *scan) number(first byte) error {
	text := string(first) + s.while(func(c byte) bool { return strings.IndexByte("0123456789+-.eE", c) >= 0 })
	if len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9' {
		return engines.Failed("invalid character '%c' after top-level value", text[1])
	}
	if _, err := strconv.ParseFloat(text, 64); errors.Is(err, strconv.ErrSyntax) && len(text) < longestNumber {
		return engines.Failed("malformed JSON, invalid number syntax for '%s'", text)
	}
	return nil
}

// while reads as long as f says, and returns the beginning of it.
func (s *scan) while(f func(byte) bool) string {
	var b strings.Builder
	for {
		c, err := s.in.ReadByte()
		if err != nil {
			return b.String()
		}
		if !f(c) {
			_ = s.in.UnreadByte() // after a ReadByte it cannot fail
			return b.String()
		}
		if b.Len() < longestNumber {
			b.WriteByte(c)
		}
	}
}

// character is the one that begins with c, for an error's text.
func (s *scan) character(c byte) string {
	if c < utf8.RuneSelf {
		return fmt.Sprintf("%c", c)
	}
	return string(rune(c))
}
