package ldap

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// plain is one spelling of a name for those that a directory takes for it (RFC 4518), but for its case: in form NFKC,
// without invisible characters, and with single spaces inside. Logins go by it, so that nobody escapes what is
// configured for his name here by writing the name in another way.
func plain(name string) string {
	name = norm.NFKC.String(strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Cc, unicode.Variation_Selector) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, "")))
	return strings.Join(strings.Fields(name), " ")
}

// holdsControl reports whether a name holds control characters besides white space. Such a name is nobody's.
func holdsControl(name string) bool {
	return strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) })
}
