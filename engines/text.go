package engines

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// AppendText appends s as a JSON string, byte for byte as encoding/json writes it. It allocates nothing when b has room
// for TextSize(s) more bytes.
func AppendText[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	plain := 0 // where what needs no escape begins
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
				i++
				continue
			}
			b = appendEscape(append(b, s[plain:i]...), c)
			i++
			plain = i
			continue
		}
		r, size := decodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[plain:i]...), `\ufffd`...)
			plain = i + size
		case r == '\u2028', r == '\u2029':
			b = append(append(b, s[plain:i]...), `\u202`...)
			b = append(b, hexDigits[r&0xf])
			plain = i + size
		}
		i += size
	}
	return append(append(b, s[plain:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	default:
		return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
	}
}
