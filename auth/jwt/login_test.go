package jwt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth"
	"coffer/engines"
)

func withKeys(t *testing.T, keys ...string) *mounted {
	v := newMount(t)
	var texts []any
	for _, key := range keys {
		texts = append(texts, publicPEM(t, key))
	}
	v.must("config", claims{"jwt_validation_pubkeys": texts})
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "me", "token_policies": "q"})
	return v
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge makes a token with a header of its own.
func forge(header, payload string, mac func(signed string) []byte) string {
	token := encode(header) + "." + encode(payload)
	return token + "." + base64.RawURLEncoding.EncodeToString(mac(token))
}

func TestForgedTokensAreRefused(t *testing.T) {
	v := withKeys(t, "rsa", "ec")
	payload := `{"sub":"me","iat":1767323040,"exp":1767323400}`
	hs := func(key string) func(string) []byte {
		return func(signed string) []byte {
			mac := hmac.New(sha256.New, []byte(key))
			mac.Write([]byte(signed))
			return mac.Sum(nil)
		}
	}
	none := func(string) []byte { return nil }
	good := sign(t, "rsa", claims{"sub": "me", "iat": epoch.Unix(), "exp": epoch.Unix() + 300})
	parts := strings.Split(good, ".")
	public := publicPEM(t, "rsa")
	for name, token := range map[string]string{
		"alg none":                   forge(`{"alg":"none"}`, payload, none),
		"alg None":                   forge(`{"alg":"None"}`, payload, none),
		"no alg":                     forge(`{}`, payload, none),
		"HS256 with the public key":  forge(`{"alg":"HS256"}`, payload, hs(public)),
		"HS256 with the trimmed key": forge(`{"alg":"HS256"}`, payload, hs(strings.TrimSpace(public))),
		"HS256 with no key":          forge(`{"alg":"HS256"}`, payload, hs("")),
		"RS256 without a signature":  forge(`{"alg":"RS256"}`, payload, none),
		"RS256 with an HMAC":         forge(`{"alg":"RS256"}`, payload, hs(public)),
		"a key in the header":        forge(`{"alg":"RS256","jwk":{"kty":"oct","k":"AAAA"}}`, payload, hs("\x00\x00\x00")),
		"critical header":            forge(`{"alg":"RS256","crit":["x"],"x":1}`, payload, none),
		"another's signature":        sign(t, "other", claims{"sub": "me", "iat": epoch.Unix(), "exp": epoch.Unix() + 300}),
		"another payload":            parts[0] + "." + encode(payload+" ") + "." + parts[2],
		"JSON form":                  `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"too long": sign(t, "rsa", claims{"sub": "me", "iat": epoch.Unix(), "exp": epoch.Unix() + 300,
			"x": strings.Repeat("x", maxToken)}),
		"another subject": sign(t, "rsa", claims{"sub": "you", "iat": epoch.Unix(), "exp": epoch.Unix() + 300}),
		"no subject":      sign(t, "rsa", claims{"iat": epoch.Unix(), "exp": epoch.Unix() + 300}),
	} {
		if login, err := v.loginWith("r", token); !errors.Is(err, engines.ErrInvalid) || login != nil {
			t.Errorf("%s: %v, %v, want ErrInvalid", name, login, err)
		}
	}
	if _, err := v.loginWith("r", good); err != nil {
		t.Errorf("the good token: %v", err)
	}
}

func TestAudiences(t *testing.T) {
	v := withKeys(t, "rsa")
	v.must("role/aud", claims{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a,b"})
	for _, tc := range []struct {
		role string
		aud  any
		want bool
	}{
		{"aud", "a", true}, {"aud", []string{"x", "b"}, true}, {"aud", "c", false}, {"aud", []string{"c", "d"}, false},
		{"aud", "A", false}, {"aud", "a,b", false}, {"aud", nil, false}, {"aud", []string{}, false}, {"aud", 1, false},
		{"r", nil, true}, {"r", "a", false}, {"r", []string{"a"}, false}, {"r", []any{1}, false}, {"r", claims{"a": "b"}, false},
	} {
		c := claims{"sub": "me"}
		if tc.aud != nil {
			c["aud"] = tc.aud
		}
		if _, err := v.login(tc.role, "rsa", c); (err == nil) != tc.want {
			t.Errorf("role %s, aud %v: %v, want success %v", tc.role, tc.aud, err, tc.want)
		}
	}
}

// TestTimes has the rules at their very edges, which recordings cannot hit.
// TestTokensAreOfTheWallClock lets the server's time be years ahead of that of the machine, and of who signs tokens.
func TestTokensAreOfTheWallClock(t *testing.T) {
	v := withKeys(t, "rsa")
	v.must("role/r", map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_subject": "me"})
	v.method.now = func() time.Time { return v.now().Add(30 * 365 * 24 * time.Hour) }
	if _, err := v.login("r", "rsa", claims{"sub": "me"}); err != nil {
		t.Errorf("a token of now: %v", err)
	}
	later := v.method.now().Unix()
	if _, err := v.login("r", "rsa", claims{"sub": "me", "iat": later, "exp": later + 60}); err == nil {
		t.Error("a token of then is good")
	}
}

func TestTimes(t *testing.T) {
	const skew, usual = 60, 150
	now := epoch.Unix()
	for _, tc := range []struct {
		name string
		c    claims
		want string
	}{
		{"none", claims{"sub": "me", "iat": 0}, "no issued at"},
		{"exp at the skew", claims{"iat": now - 900, "exp": now - skew}, ""},
		{"exp beyond the skew", claims{"iat": now - 900, "exp": now - skew - 1}, "expired"},
		{"nbf at the skew", claims{"nbf": now + skew, "exp": now + 900}, ""},
		{"nbf beyond the skew", claims{"nbf": now + skew + 1, "exp": now + 900}, "not yet valid"},
		{"iat at the skew", claims{"iat": now + skew, "nbf": now, "exp": now + 900}, ""},
		{"iat beyond the skew", claims{"iat": now + skew + 1, "nbf": now, "exp": now + 900}, "in the future"},
		{"exp alone, near", claims{"exp": now + usual + skew}, ""},
		{"exp alone, far", claims{"exp": now + usual + skew + 1}, "not yet valid"},
		{"nbf alone, near", claims{"nbf": now - usual - skew}, ""},
		{"nbf alone, far", claims{"nbf": now - usual - skew - 1}, "expired"},
		{"iat alone, near", claims{"iat": now - usual - skew}, ""},
		{"iat alone, far", claims{"iat": now - usual - skew - 1}, "expired"},
		{"nbf at the end of time", claims{"nbf": int64(1)<<62 + 1, "exp": int64(1) << 62}, "expected number"},
		{"exp before the beginning of time", claims{"iat": now, "exp": -(int64(1) << 62)}, "expected number"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := withKeys(t, "rsa")
			tc.c["sub"] = "me"
			_, err := v.login("r", "rsa", tc.c)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestLoginCarriesTheClaims(t *testing.T) {
	v := withKeys(t, "ed")
	v.must("role/all", claims{"role_type": "jwt", "user_claim": "/who/0", "user_claim_json_pointer": true, "bound_audiences": "a",
		"groups_claim": "/x~1y/g", "claim_mappings": claims{"mail": "email", "/who/1": "nick", "none": "nothing"},
		"token_policies": "p", "token_ttl": "1m"})
	got, err := v.login("ALL", "ed", claims{"aud": "a", "who": []string{"me", "m"}, "mail": "m@x",
		"x/y": claims{"g": []string{"one", "", "two"}}})
	if err != nil {
		t.Fatal(err)
	}
	metadata := map[string]string{"role": "all", "email": "m@x", "nick": "m"}
	want := &engines.Login{DisplayName: "me", Alias: "me", GroupAliases: []string{"one", "two"}, Metadata: metadata,
		AliasMetadata: metadata, Policies: []string{"p"}, TTL: time.Minute, Internal: map[string]any{"role": "all"}}
	if err := got.StillGood(t.Context()); err != nil {
		t.Error(err)
	}
	got.StillGood = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("login (-want +got):\n%s", diff)
	}
}

func TestNetworksOfTheRole(t *testing.T) {
	v := withKeys(t, "rsa")
	v.must("role/near", claims{"role_type": "jwt", "user_claim": "sub", "token_bound_cidrs": "10.0.0.0/8"})
	if _, err := v.login("near", "rsa", claims{"sub": "me"}); err != nil {
		t.Errorf("from within: %v", err)
	}
	for _, addr := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), {}} {
		v.from = addr
		if _, err := v.login("near", "rsa", claims{"sub": "me"}); !errors.Is(err, engines.ErrDenied) {
			t.Errorf("from %v: %v, want ErrDenied", addr, err)
		}
	}
}

func TestRenewal(t *testing.T) {
	v := withKeys(t, "rsa")
	renew := func() (*engines.Login, error) {
		return v.method.RenewLogin(t.Context(), &engines.Renewal{Internal: map[string]any{"role": "r"}})
	}
	v.must("role/r", claims{"role_type": "jwt", "token_ttl": "5m", "token_period": "7m"})
	got, err := renew()
	if err != nil || got.TTL != 5*time.Minute || got.Period != 7*time.Minute {
		t.Errorf("renewal: %+v, %v, want the role's settings as they are now", got, err)
	}
	if _, err := v.call(engines.Delete, "role/r", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := renew(); !errors.Is(err, engines.ErrFailed) {
		t.Errorf("renewal without the role: %v, want ErrFailed", err)
	}
	if _, err := v.method.RenewLogin(t.Context(), &engines.Renewal{}); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("renewal of another's token: %v, want ErrInvalid", err)
	}
}

func TestLoginIsNotGoodAnyMore(t *testing.T) {
	for name, change := range map[string]func(*mounted) error{
		"role deleted": func(v *mounted) error {
			_, err := v.call(engines.Delete, "role/r", nil)
			return err
		},
		"role changed": func(v *mounted) error {
			_, err := v.call(engines.Update, "role/r", claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "me", "token_policies": "q"})
			return err
		},
		"other keys": func(v *mounted) error {
			_, err := v.call(engines.Update, "config", claims{"jwt_validation_pubkeys": publicPEM(t, "ec")})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := withKeys(t, "rsa")
			v.must("role/r", claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "me", "token_policies": "p"})
			login, err := v.login("r", "rsa", claims{"sub": "me"})
			if err != nil {
				t.Fatal(err)
			}
			v.must("role/other", claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "x"})
			if err := login.StillGood(t.Context()); err != nil {
				t.Errorf("nothing changed: %v", err)
			}
			if err := change(v); err != nil {
				t.Fatal(err)
			}
			if err := login.StillGood(t.Context()); !errors.Is(err, auth.ErrChanged) {
				t.Errorf("%v, want ErrChanged", err)
			}
		})
	}
}

func TestConfigurationOutlivesTheMount(t *testing.T) {
	v := withKeys(t, "rsa")
	again := mount(t, v.store)
	if _, err := again.login("r", "rsa", claims{"sub": "me"}); err != nil {
		t.Errorf("login after a restart: %v", err)
	}
	// A replaced key is worth nothing from then on.
	again.must("config", claims{"jwt_validation_pubkeys": publicPEM(t, "ec")})
	if _, err := again.login("r", "rsa", claims{"sub": "me"}); err == nil {
		t.Error("the replaced key still logs in")
	}
	if _, err := again.login("r", "ec", claims{"sub": "me"}); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

func TestClientSecretIsNotShown(t *testing.T) {
	v := withOP(t, newOP(t))
	resp, err := v.call(engines.Read, "config", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range resp.Data {
		if text, ok := value.(string); ok && strings.Contains(text, clientSecret) || name == "oidc_client_secret" {
			t.Errorf("%s shows %v", name, value)
		}
	}
}
