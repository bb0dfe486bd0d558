package kubernetes

import (
	"crypto"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"coffer/engines"
)

// FuzzParseJWT: no text panics, none passes for signed by a key that did not sign it, and no error repeats it.
func FuzzParseJWT(f *testing.F) {
	signer, other := newKey(f), newKey(f)
	good := signed(f, jose.ES256, signer, esoToken().claims())
	f.Add(good)
	f.Add("")
	f.Add("garbage")
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
	f.Add(signed(f, jose.ES256, signer, object{"kubernetes.io": 5, "aud": object{}, "exp": "x"}))
	f.Add(signed(f, jose.ES256, signer, object{"exp": 1e300, "nbf": -1e300, "aud": []any{1}}))
	f.Fuzz(func(t *testing.T, text string) {
		token := engines.NewToken(text)
		if _, err := parseJWT(token, []crypto.PublicKey{&other.PublicKey}); err == nil {
			t.Fatalf("%q passes for signed", text)
		}
		c, err := parseJWT(token, nil)
		if err != nil {
			if len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Fatalf("the error %q repeats the token", err)
			}
			return
		}
		_ = c.check("i", "a", epoch)
		if c.check("", "", epoch) == nil && len(c.Audience) == 0 && c.check("", "vault", epoch) == nil {
			t.Fatalf("%q fits an audience it does not name", text)
		}
	})
}

// FuzzParseSelector: what is accepted keeps every label that was asked for.
func FuzzParseSelector(f *testing.F) {
	f.Add(`{"matchLabels":{"a":"b"}}`)
	f.Add("matchLabels:\n  a: b\n")
	f.Add("matchLabels: &x\n  a: b\n")
	f.Add("null")
	f.Add("---\n---\n{}")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSelector(text)
		if err == nil && len(s) > 0 && s.matches(nil) {
			t.Fatalf("%q fits a namespace without labels", text)
		}
	})
}

// FuzzAPIURL: what is accepted has a host and nothing that a request could be led astray by.
func FuzzAPIURL(f *testing.F) {
	f.Add("https://k8s:6443/")
	f.Add("10.0.0.1")
	f.Add("[::1]:6443")
	f.Add("https://u:p@h?x#y")
	f.Fuzz(func(t *testing.T, host string) {
		u, err := apiURL(host)
		if err == nil && (u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
			t.Fatalf("%q became %q", host, u)
		}
	})
}

// FuzzParseKey: no text panics.
func FuzzParseKey(f *testing.F) {
	f.Add(keyPEM(f, &newKey(f).PublicKey))
	f.Add(selfSignedPEM(f))
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := parseKey(text); (key == nil) == (err == nil) {
			t.Fatalf("key %v, error %v", key, err)
		}
	})
}
