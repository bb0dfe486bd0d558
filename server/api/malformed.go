package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"coffer/engines"
)

// Vault scans a body before it parses it, and the scan forgives much: commas and colons need not be where
// they belong. What the scan refuses is a 500 with its text, what only the parser refuses a 400 with that of
// encoding/json. Here the parser comes first, so when it fails the scan is made up for from where it stopped:
// the errors are those that Vault 1.21.2 was seen to answer.

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
func (d *decoder) syntax(err error, at place, began bool) error {
	var wrong *json.SyntaxError
	cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if !cut && !errors.As(err, &wrong) {
		return err
	}
	if at == atTop && !cut {
		return parseError(wrong)
	}
	s := scan{at: at, depth: d.limits.Depth}
	if rest, ok := d.dec.Buffered().(io.ByteScanner); ok {
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
