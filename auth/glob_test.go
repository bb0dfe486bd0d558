package auth_test

import (
	"testing"

	"coffer/auth"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		glob, name string
		want       bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a*", "a", true}, {"a*", "ab", true}, {"*a", "ba", true}, {"*", "", true},
		{"a*c", "abc", true}, {"a*c", "abd", false}, {"a*b*c", "a1b2c", true}, {"a*b*c", "a1c", false}, {"ab*ba", "aba", false},
	} {
		if got := auth.Matches(tt.glob, tt.name); got != tt.want {
			t.Errorf("%q on %q: %v", tt.glob, tt.name, got)
		}
	}
}
