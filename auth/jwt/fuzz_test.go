package jwt

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func FuzzToken(f *testing.F) {
	good := sign(f, "rsa", claims{"sub": "me", "iat": epoch.Unix()})
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
	f.Add(`{"payload":"e30","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","signature":"AA"}]}`)
	keys := []keySet{staticKeys{keyring()["rsa"].Public(), keyring()["ec"].Public(), keyring()["ed"].Public()}}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := validate(t.Context(), text, keys, &expected{now: epoch})
		if err == nil && got["sub"] != "me" {
			t.Errorf("%q became a login of %v", text, got)
		}
	})
}

func FuzzPayload(f *testing.F) {
	f.Add(`{"sub":"me","aud":["a"],"exp":1767323400,"iat":1767323040}`, "/a/b")
	f.Add(`{"exp":1e400,"nbf":-1}`, "sub")
	f.Add(`{"a":{"b~c/d":[1,2,{"e":null}]}}`, "/a/b~0c~1d/2/e")
	f.Add(`{"":{"":1}}`, "//")
	f.Fuzz(func(t *testing.T, payload, name string) {
		c, err := decodeClaims([]byte(payload))
		if err != nil {
			return
		}
		value, ok := find(c, name)
		if ok && value == nil {
			t.Errorf("%q finds null in %s", name, payload)
		}
		r := &role{UserClaim: name, UserPointer: true, GroupsClaim: name, Mappings: map[string]string{name: "m"}}
		if _, err := r.user(c); err == nil {
			if _, isText := value.(string); !isText {
				t.Errorf("%v became a user's name", value)
			}
		}
		_, _ = r.groups(c)
		_, _ = r.metadata(c)
	})
}

func FuzzBoundClaims(f *testing.F) {
	f.Add(`{"c":"a"}`, `{"c":"a"}`, false)
	f.Add(`{"c":["a*b",1,true]}`, `{"c":["axb"]}`, true)
	f.Add(`{"/c/0":1.0}`, `{"c":[1]}`, false)
	f.Add(`{"c":{"x":[]}}`, `{"c":{"x":[]}}`, false)
	f.Fuzz(func(t *testing.T, want, have string, glob bool) {
		var bound, c map[string]any
		if decodeJSON([]byte(want), &bound) != nil || decodeJSON([]byte(have), &c) != nil {
			return
		}
		b := &bounds{Claims: bound, ClaimsType: map[bool]string{true: boundGlob, false: boundString}[glob]}
		if b.checkBound(c) != nil {
			return
		}
		// What is let in has each of the claims, with one of the values.
		for name := range bound {
			if _, ok := find(c, name); !ok {
				t.Errorf("%s lets in %s without %q", want, have, name)
			}
		}
	})
}

func FuzzJWKS(f *testing.F) {
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"oct","k":"AA"}]}`)
	f.Add(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	f.Add(`{"keys":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseJWKS([]byte(text))
		for _, key := range keys {
			if err != nil || !key.IsPublic() || !key.Valid() {
				t.Errorf("%s has %v, %v", text, key.Key, err)
			}
		}
	})
}

func FuzzRedirect(f *testing.F) {
	f.Add("http://localhost:1/cb")
	f.Add("http://localhost@evil/cb")
	f.Add("https://v.example.org/cb?namespace=a")
	f.Fuzz(func(t *testing.T, redirect string) {
		rest, _, err := cutNamespace(redirect)
		if err != nil {
			return
		}
		if admitsRedirect([]string{"http://localhost/cb", "https://v.example.org/cb"}, rest) &&
			!strings.HasPrefix(strings.ToLower(rest), "http://localhost") && !strings.EqualFold(rest, "https://v.example.org/cb") {
			t.Errorf("%q is admitted as %q", redirect, rest)
		}
	})
}

func FuzzBucket(f *testing.F) {
	f.Add(int64(1), int64(11), 3)
	f.Fuzz(func(t *testing.T, a, b int64, n int) {
		bucket := bucket{tokens: fetchBurst}
		now, taken := epoch, 0
		bucket.take(now) // From here on the count is bounded by time.
		for i := range min(max(n, 0), 100) {
			step := time.Duration([]int64{a, b}[i%2]) % time.Minute
			now = now.Add(max(step, -step))
			if bucket.take(now) {
				taken++
			}
		}
		if limit := fetchBurst + int(now.Sub(epoch)/fetchEvery); taken > limit {
			t.Errorf("%d within %v, want at most %d", taken, now.Sub(epoch), limit)
		}
	})
}

// TestNumbers pins how numbers compare: a bound of 1 must not let 1.5 in.
func TestNumbers(t *testing.T) {
	for _, tc := range []struct {
		want, have json.Number
		same       bool
	}{
		{"1", "1", true}, {"1", "1.0", true}, {"1", "1e0", true}, {"1", "1.5", false}, {"1", "2", false},
		{"9007199254740993", "9007199254740992", false}, {"9007199254740993", "9007199254740993", true},
	} {
		b := &bounds{Claims: map[string]any{"c": tc.want}, ClaimsType: boundString}
		if got := b.checkBound(map[string]any{"c": tc.have}) == nil; got != tc.same {
			t.Errorf("bound %s, claim %s: %v, want %v", tc.want, tc.have, got, tc.same)
		}
	}
}
