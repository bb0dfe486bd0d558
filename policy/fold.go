package policy

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

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
