package audit

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/storage/memory"
)

// TestNoTokenInClear: a token does not get into the record in clear, through whichever header, path, text or setting it
// comes.
func TestNoTokenInClear(t *testing.T) {
	const canary = "canary0123456789ABCDEFGH"
	secret := []string{"X-Vault-Token", "Authorization", "authorization", "Proxy-Authorization", "Cookie", "X-Vault-MFA",
		"X-Api-Key", "X-Client-Secret", "X-Forwarded-Access-Token"}
	configured := headers{"x-plain": false, "user-agent": false}
	for _, name := range secret {
		configured[engines.FoldASCII(name)] = false // as an older version may have stored it
	}
	for _, kind := range []string{"hvs.", "hvb."} {
		b := New(Config{Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Headers: configured})
		defer b.Close()
		dir := t.TempDir()
		enable(t, b, "f/", map[string]string{"file_path": filepath.Join(dir, "f")})
		enable(t, b, "raw/", map[string]string{"file_path": filepath.Join(dir, "raw"), "log_raw": "true"})
		e := testEntry()
		token := kind + canary
		for _, name := range secret {
			e.Request.Client.Header[name] = []string{canary}
		}
		e.Request.Client.Header["X-Plain"] = []string{"Bearer " + token}
		e.Path = "auth/token/lookup/" + token + "/x"
		e.Request.Params["shown"] = []string{token}
		e.Error = fmt.Errorf("no handler for route %q", e.Path)
		if err := b.LogRequest(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if err := b.LogResponse(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(lines(t, b, "f/", filepath.Join(dir, "f"), token), "\n")
		if strings.Contains(strings.ReplaceAll(text, "H("+token+")", ""), canary) {
			t.Errorf("a token in clear:\n%s", text)
		}
		for _, want := range []string{`"user-agent":["test"]`, `"x-plain":["Bearer H(` + token + `)"]`,
			`"path":"auth/token/lookup/H(` + token + `)/x"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not in\n%s", want, text)
			}
		}
		raw, err := os.ReadFile(filepath.Join(dir, "raw"))
		if err != nil || !strings.Contains(string(raw), `"path":"auth/token/lookup/`+token) {
			t.Errorf("log_raw does not show everything: %v\n%s", err, raw)
		}
	}
}

func TestTextsWithoutTokens(t *testing.T) {
	r := redactor{hasher: newHasher(make([]byte, keySize))}
	for _, text := range []string{"", "secret/data/hvs.short", "hvs.", "hvb", "a hvs.0123456789012345678", "x/y", "hvhvs.hvb."} {
		if got := r.clear(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	token := "hvb.0123456789-_abcdefghi"
	if got, want := r.clear("a"+token+"/"+token+" hvs.b"), "a"+r.text(token)+"/"+r.text(token)+" hvs.b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
