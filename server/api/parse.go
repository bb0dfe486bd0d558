package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"coffer/engines"
)

// Vault scans a body for its tokens before it parses it. What its scan refuses is an ErrFailed (500), what only its
// parser refuses an ErrInvalid (400). A body with one fault gets Vault's answer; one with several gets that of the
// first.
var (
	errUnclosed     = engines.Failed("malformed JSON, unclosed containers")
	errUnclosedText = engines.Failed("malformed JSON, unclosed string")
	errTooDeep      = engines.Failed("JSON input exceeds allowed nesting depth")
)

// unexpected is the error for the byte c at which the parser stopped, or for the end of the text if there is none.
// where is what encoding/json says about the place.
func unexpected(c byte, found bool, where string) error {
	switch {
	case !found:
		return errUnclosed
	case strings.IndexByte(`{}[],:"-0123456789tfn`, c) < 0:
		return refused(c, "looking for beginning of value")
	default:
		return syntaxError(c, where)
	}
}

// syntaxError is the error of encoding/json for the byte c.
func syntaxError(c byte, where string) error {
	return parseError(fmt.Errorf("invalid character %s %s", strconv.QuoteRune(rune(c)), where))
}

// refused is the error of the scan for the byte c.
func refused(c byte, where string) error {
	return engines.Failed("invalid character '%s' %s", string(rune(c)), where)
}

func mismatched(c byte) error {
	return engines.Failed("malformed JSON: mismatched closing delimiter '%c'", c)
}

// These strings are refused because they cannot be stored as they were sent: encoding/json, and Vault with it, would
// put U+FFFD in the place of what is not Unicode, and a password would silently be another one.
var (
	errNotUTF8   = parseError(errors.New("a string is not UTF-8; send binary data in base64"))
	errSurrogate = parseError(errors.New(`a string has half of a surrogate pair, such as "\ud800" alone`))
)

// parser reads one JSON value out of a text that lies in several chunks (RFC 8259). It keeps the limits while it
// reads. Unlike encoding/json it leaves next to no garbage: what it allocates is what it returns.
type parser struct {
	// buf is the chunk being read, from pos on; rest are those after it.
	buf  []byte
	pos  int
	rest [][]byte
	// consumed is called with each chunk but the last once it is read; nil for not.
	consumed func([]byte)
	limits   JSONLimits
	// checking makes nothing out of what is read. Duplicate keys are not found then.
	checking bool
	values   int
	// secret is the name of a member of the whole whose text is kept apart, in secrets, so that it can be wiped; ""
	// for none.
	secret  string
	secrets [][]byte
}

// parse reads the whole text. It returns nil for an empty one, an ErrInvalid for what is no JSON, or an ErrFailed for
// what is over a limit.
func (p *parser) parse() (any, error) {
	if _, ok := p.peek(); !ok {
		return nil, nil //nolint:nilnil // no body is no parameters
	}
	v, err := p.value(1)
	if err != nil {
		return nil, err
	}
	if c, ok := p.peek(); ok {
		return nil, refused(c, "after top-level value")
	}
	return v, nil
}

// more goes on to the next chunk.
func (p *parser) more() bool {
	for len(p.rest) > 0 {
		if p.consumed != nil {
			p.consumed(p.buf)
		}
		p.buf, p.rest, p.pos = p.rest[0], p.rest[1:], 0
		if len(p.buf) > 0 {
			return true
		}
	}
	return false
}

// peek skips white space and returns the next byte without taking it.
func (p *parser) peek() (byte, bool) {
	for {
		for ; p.pos < len(p.buf); p.pos++ {
			switch c := p.buf[p.pos]; c {
			case ' ', '\t', '\n', '\r':
			default:
				return c, true
			}
		}
		if !p.more() {
			return 0, false
		}
	}
}

// value reads a value, at its first byte. depth is 1 for the whole.
func (p *parser) value(depth int) (any, error) {
	c, ok := p.peek()
	if !ok {
		return nil, errUnclosed
	}
	if p.values++; p.values > p.limits.Tokens {
		return nil, engines.Failed("JSON payload exceeds allowed token count")
	}
	switch c {
	case '{', '[':
		if depth > p.limits.Depth {
			return nil, errTooDeep
		}
		if c == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case '"':
		s, err := p.text()
		if err != nil || p.checking {
			return nil, err
		}
		return s, nil
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return nil, p.word("null")
	default:
		switch {
		case c == '-' || c >= '0' && c <= '9':
			return p.number()
		case depth == 1:
			return nil, syntaxError(c, "looking for beginning of value")
		default:
			return nil, unexpected(c, true, "looking for beginning of value")
		}
	}
}

func (p *parser) object(depth int) (any, error) {
	p.pos++
	var m map[string]any
	if !p.checking {
		m = make(map[string]any)
	}
	for count := 0; ; count++ {
		c, ok := p.peek()
		switch {
		case ok && c == '}' && count == 0:
			p.pos++
			return m, nil
		case ok && c == '}':
			return nil, refused(c, "after object key-value pair")
		case !ok || c != '"':
			return nil, unexpected(c, ok, "looking for beginning of object key string")
		}
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if count == p.limits.ObjectEntries {
			return nil, engines.Failed("JSON object exceeds allowed entry count")
		}
		if _, twice := m[key]; twice {
			return nil, engines.Failed("duplicate key '%s' in object", engines.Brief(key))
		}
		if c, ok = p.peek(); !ok || c != ':' {
			return nil, unexpected(c, ok, "after object key")
		}
		p.pos++
		if c, ok = p.peek(); ok && c == '}' {
			return nil, refused(c, "after object key")
		}
		v, err := p.member(key, depth)
		if err != nil {
			return nil, err
		}
		if !p.checking {
			m[key] = v
		}
		if c, ok = p.peek(); ok && c == ']' {
			return nil, mismatched(c)
		}
		if !ok || c != ',' && c != '}' {
			return nil, unexpected(c, ok, "after object key:value pair")
		}
		p.pos++
		if c == '}' {
			return m, nil
		}
	}
}

// member reads the value of a key.
func (p *parser) member(key string, depth int) (any, error) {
	if depth == 1 && p.secret != "" && key == p.secret && !p.checking {
		if c, ok := p.peek(); ok && c == '"' {
			p.values++
			return p.secretText()
		}
	}
	return p.value(depth + 1)
}

func (p *parser) array(depth int) (any, error) {
	p.pos++
	list := []any{}
	for count := 0; ; count++ {
		c, ok := p.peek()
		switch {
		case !ok:
			return nil, errUnclosed
		case c == ']' && count == 0:
			p.pos++
			return list, nil
		case c == ']':
			return nil, refused(c, "after array element")
		case count == p.limits.ArrayElements:
			return nil, engines.Failed("JSON array exceeds allowed element count")
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.checking {
			list = append(list, v)
		}
		if c, ok = p.peek(); ok && c == '}' {
			return nil, mismatched(c)
		}
		if !ok || c != ',' && c != ']' {
			return nil, unexpected(c, ok, "after array element")
		}
		p.pos++
		if c == ']' {
			return list, nil
		}
	}
}

// word takes one of the three literals.
func (p *parser) word(want string) error {
	for i := range len(want) {
		if p.pos == len(p.buf) && !p.more() {
			return errUnclosed
		}
		if c := p.buf[p.pos]; c != want[i] {
			return syntaxError(c, fmt.Sprintf("in literal %s (expecting %q)", want, want[i]))
		}
		p.pos++
	}
	return nil
}

func isNumeric(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

func (p *parser) number() (any, error) {
	start := p.pos
	for p.pos < len(p.buf) && isNumeric(p.buf[p.pos]) {
		p.pos++
	}
	text := p.buf[start:p.pos]
	if p.pos == len(p.buf) && len(p.rest) > 0 {
		text = bytes.Clone(text)
		for len(text) <= p.limits.StringLength && p.more() {
			start = p.pos
			for p.pos < len(p.buf) && isNumeric(p.buf[p.pos]) {
				p.pos++
			}
			text = append(text, p.buf[start:p.pos]...)
			if p.pos < len(p.buf) {
				break
			}
		}
	}
	if len(text) > p.limits.StringLength {
		return nil, errLongNumber
	}
	if !validNumber(text) {
		return nil, engines.Failed("malformed JSON, invalid number syntax for '%s'", engines.Brief(string(text)))
	}
	if p.checking {
		return nil, nil //nolint:nilnil // nothing is made
	}
	return json.Number(text), nil
}

// validNumber reports whether b is a number of JSON.
func validNumber(b []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n > 0
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	if len(b) > 0 && b[0] == '0' {
		b = b[1:]
	} else if !digits() {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		if b = b[1:]; !digits() {
			return false
		}
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		if b = b[1:]; len(b) > 0 && (b[0] == '-' || b[0] == '+') {
			b = b[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(b) == 0
}

// text reads a string, at its opening quote. While checking it returns "".
func (p *parser) text() (string, error) {
	for i := p.pos + 1; i < len(p.buf); i++ {
		switch c := p.buf[i]; {
		case c == '"':
			s := p.buf[p.pos+1 : i]
			p.pos = i + 1
			if len(s) > p.limits.StringLength {
				return "", errTooLong
			}
			if p.checking {
				return "", nil
			}
			return string(s), nil
		case c < ' ' || c == '\\' || c >= utf8.RuneSelf:
			return p.longText()
		}
	}
	return p.longText()
}

// longestEscape is how many bytes one byte of a string can take in a text: \u0041.
const longestEscape = 6

var errLongNumber = engines.Failed("JSON number value exceeds allowed length")

var errTooLong = engines.Failed("JSON string value exceeds allowed length")

// longText reads a string that has escapes or other characters than ASCII, or lies in several chunks.
func (p *parser) longText() (string, error) {
	n, plain, err := p.measure()
	if err != nil {
		return "", err
	}
	if plain && n > p.limits.StringLength {
		return "", errTooLong
	}
	var b strings.Builder
	if !p.checking {
		b.Grow(n + 2)
	}
	p.take(n+2, func(part []byte) {
		if !p.checking {
			b.Write(part)
		}
	})
	if p.checking {
		return "", nil
	}
	s := b.String()[1 : n+1]
	if !utf8.ValidString(s) {
		return "", errNotUTF8
	}
	if !plain {
		var whole bool
		if s, whole = unescaped(s); !whole {
			return "", errSurrogate
		}
	}
	if len(s) > p.limits.StringLength {
		return "", errTooLong
	}
	return s, nil
}

// unescaped decodes the text of a string that is UTF-8 and whose escapes are in order. It reports false for a
// surrogate without its other half.
func unescaped(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\' && s[i+1] == 'u':
			r := hexRune(s[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				if i+5 >= len(s) || s[i] != '\\' || s[i+1] != 'u' {
					return "", false
				}
				if r = utf16.DecodeRune(r, hexRune(s[i+2:])); r == utf8.RuneError {
					return "", false
				}
				i += 6
			}
			b = utf8.AppendRune(b, r)
		case c == '\\':
			b = append(b, escapes[strings.IndexByte(escapeNames, s[i+1])])
			i += 2
		default:
			b = append(b, c)
			i++
		}
	}
	return string(b), true
}

// escapeNames are the characters that may follow a backslash, \u aside; escapes are what they mean.
const (
	escapeNames = `"\/bfnrt`
	escapes     = "\"\\/\b\f\n\r\t"
)

// hexRune reads the four digits that s begins with.
func hexRune(s string) rune {
	var r rune
	for i := range 4 {
		c := s[i] | 0x20 // to lower case; digits stay
		if c >= 'a' {
			c -= 'a' - 10
		} else {
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}

// take takes n bytes that are known to be there.
func (p *parser) take(n int, f func(part []byte)) {
	for {
		part := p.buf[p.pos:min(p.pos+n, len(p.buf))]
		f(part)
		p.pos += len(part)
		if n -= len(part); n == 0 || !p.more() {
			return
		}
	}
}

// measure finds the end of the string at whose opening quote the parser is. It returns the length between the quotes,
// and whether there are no escapes. It takes nothing.
func (p *parser) measure() (n int, plain bool, err error) {
	plain = true
	buf, rest := p.buf[p.pos+1:], p.rest
	var escape, digits int // escape is 1 after a backslash; digits are those of \u that must follow
	for {
		for i, c := range buf {
			switch {
			case escape == 1:
				if c != 'u' && strings.IndexByte(escapeNames, c) < 0 {
					return 0, false, refused(c, "in string escape code")
				}
				escape = 0
				if c == 'u' {
					digits = 4
				}
			case digits > 0:
				if strings.IndexByte("0123456789abcdefABCDEF", c) < 0 {
					return 0, false, refused(c, "in string escape code")
				}
				digits--
			case c == '"':
				return n + i, plain, nil
			case c == '\\':
				escape, plain = 1, false
			case c < ' ':
				return 0, false, syntaxError(c, "in string literal")
			}
		}
		if n += len(buf); n > longestEscape*p.limits.StringLength {
			return 0, false, errTooLong
		}
		if len(rest) == 0 {
			return 0, false, errUnclosedText
		}
		buf, rest = rest[0], rest[1:]
	}
}

// secretText reads a string into memory of its own, which wipe clears.
func (p *parser) secretText() (any, error) {
	n, plain, err := p.measure()
	if err != nil {
		return nil, err
	}
	if !plain || n == 0 || n > p.limits.StringLength {
		return p.value(2) // no share of a key has escapes
	}
	raw := make([]byte, 0, n+2)
	p.take(n+2, func(part []byte) { raw = append(raw, part...) })
	if !utf8.Valid(raw) {
		return nil, errNotUTF8
	}
	p.secrets = append(p.secrets, raw)
	return unsafeText(raw[1 : n+1]), nil
}
