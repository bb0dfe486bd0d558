package config

import (
	"fmt"
	"slices"
	"strings"
)

// nearest is the known name that a misspelt one is closest to, or "" when none is close.
func nearest(name string, known []string) string {
	best, least := "", 3
	for _, candidate := range slices.Sorted(slices.Values(known)) {
		d := distance(name, candidate)
		if strings.ReplaceAll(name, "-", "_") == candidate || strings.HasPrefix(candidate, name+"_") && len(name) > 5 {
			d = min(d, 1)
		}
		if d < least && d*3 <= len(name) {
			best, least = candidate, d
		}
	}
	return best
}

// Nearest is nearest for other words that users type, such as commands and flags.
func Nearest(name string, known []string) string { return nearest(name, known) }

// distance is the number of letters to add, drop, replace or swap with their neighbour that turn a into b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // no key is as long
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, last, row := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// elsewhere says in which stanza a key belongs that stands in a wrong one, or "".
func elsewhere(path, key string) string {
	for _, place := range []struct {
		path, form string
		decode     func(*scope)
	}{
		{"", "outside of all blocks", func(s *scope) { decodeTop(s, defaults()) }},
		{"listener.tcp", `in listener "tcp" { … }`, func(s *scope) { decodeListener(s, unauthenticated{}) }},
		{"seal.static", `in seal "static" { … }`, func(s *scope) { decodeSealStanza(s) }},
		{"telemetry", "in telemetry { … }", func(s *scope) { decodeTelemetryKeys(s, &Telemetry{}) }},
		{"user_lockout.all", `in user_lockout "all" { … }`, func(s *scope) { decodeLockoutKeys(s) }},
	} {
		if place.path == path {
			continue
		}
		s := newScope(place.path, "", Position{}, nil, &report{})
		if label, ok := strings.CutPrefix(place.path, "seal."); ok {
			s.label = label
		}
		place.decode(s)
		if slices.Contains(s.asked, key) {
			return fmt.Sprintf("it belongs %s", place.form)
		}
	}
	return ""
}
