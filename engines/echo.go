package engines

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// maxEchoedText is how many bytes of a client's text are repeated to it, or to the log.
	maxEchoedText = 100
	// maxEchoedNames is how many names of a client's are.
	maxEchoedNames = 20
	// MaxMessage bounds the text of an error, in bytes. As JSON it may be six times as long.
	MaxMessage = 2 << 10
)

// Brief is a client's text as errors, warnings and logs repeat it: whole up to 100 bytes, otherwise its beginning.
// Clients can send texts of megabytes, and an answer is held until the client reads it.
func Brief(s string) string { return Cut(s, maxEchoedText) }

// Cut returns s, or its beginning up to limit bytes, which ends between two characters, and "...".
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.Clone(s[:limit]) + "..."
}

// BriefList is a list of names of a client's, each as Brief has it, separated by spaces. Only the first 20 are named.
func BriefList(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i == maxEchoedNames {
			fmt.Fprintf(&b, " and %d more", len(names)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(Brief(name))
	}
	return b.String()
}
