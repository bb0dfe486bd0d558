package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// FoldASCII returns s with the letters A to Z in lower case. Names that differ only there are one name. Other letters
// stay as they are: Unicode's folding makes one of different people's names, for example of "K" and the Kelvin sign.
func FoldASCII(s string) string {
	for i := range len(s) {
		if isUpper(s[i]) {
			b := []byte(s)
			for ; i < len(b); i++ {
				if isUpper(b[i]) {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// FoldLetters returns s with every letter in lower case that is one half of a pair, as directories fold names: they do
// not tell Ä from ä. What differs by more than case stays apart: the Kelvin sign is no k, and İ no i. Bytes that are no
// UTF-8 stay as they are.
func FoldLetters(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if low := foldLetter(r); low != r {
			b.WriteRune(low)
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

func foldLetter(r rune) rune {
	if low := unicode.ToLower(r); unicode.ToUpper(low) == r {
		return low
	}
	return r
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
