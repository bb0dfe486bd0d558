package engines_test

import (
	"testing"

	"coffer/engines"
)

func TestReplaceTokens(t *testing.T) {
	const token, batch = "hvs.CAESIJ0123456789abcdef-_", "hvb.AAAAAQ0123456789abcdefgh"
	for text, want := range map[string]string{
		"":                                    "",
		"secret/data/hvs.short":               "secret/data/hvs.short",
		"hvhvs.hvb.":                          "hvhvs.hvb.",
		"auth/token/lookup/" + token + "/x":   "auth/token/lookup/T/x",
		token + " " + batch:                   "T T",
		"a" + token + token + "/" + batch:     "aT/T",
		"hvs.short " + token + "\n" + batch:   "hvs.short T\nT",
		`{"a":"` + token + `","hvs.b":"hvs"}`: `{"a":"T","hvs.b":"hvs"}`,
	} {
		if got := engines.ReplaceTokens(text, func(string) string { return "T" }); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
