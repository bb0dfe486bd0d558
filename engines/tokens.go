package engines

import "strings"

// minToken is how many characters follow the prefix of a token at least, and do not in ordinary names.
const minToken = 20

// ReplaceTokens returns a text with every token in it replaced. Clients may put one anywhere, as into a path.
func ReplaceTokens(s string, replace func(token string) string) string {
	var b strings.Builder
	for {
		start := tokenStart(s)
		if start < 0 {
			break
		}
		end := start + len("hvs.")
		for end < len(s) && (inToken(s[end]) || s[end] == '.' && tokenStart(s[end-3:end+1]) == 0) { // two without a gap
			end++
		}
		b.WriteString(s[:start])
		if token := s[start:end]; len(token) < len("hvs.")+minToken {
			b.WriteString(token)
		} else {
			b.WriteString(replace(token))
		}
		s = s[end:]
	}
	if b.Len() == 0 {
		return s
	}
	b.WriteString(s)
	return b.String()
}

// WithoutTokens is a text, such as a path, with "<token>" in the place of each token in it.
func WithoutTokens(s string) string {
	return ReplaceTokens(s, func(string) string { return "<token>" })
}

// tokenStart finds the prefix of a service or batch token; -1 for none.
func tokenStart(s string) int {
	service, batch := strings.Index(s, "hvs."), strings.Index(s, "hvb.")
	if service < 0 || batch >= 0 && batch < service {
		return batch
	}
	return service
}

func inToken(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_'
}
