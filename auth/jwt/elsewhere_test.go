package jwt

import (
	"testing"

	"coffer/engines"
)

// TestCodesAreForTheirProvider: what a provider gave for a login is brought to no other one that was configured
// meanwhile.
func TestCodesAreForTheirProvider(t *testing.T) {
	for _, mode := range []string{callbackClient, callbackDirect, callbackDevice} {
		t.Run(mode, func(t *testing.T) {
			one, other := newOP(t), newOP(t)
			v := withOP(t, one)
			v.must("role/r", claims{"callback_mode": mode, "allowed_redirect_uris": "http://localhost:8250/cb"})
			data := v.must("oidc/auth_url", claims{"role": "r", "redirect_uri": "http://localhost:8250/cb", "client_nonce": "n"}).Data
			state, _ := data["state"].(string)
			q := v.begin(claims{"client_nonce": "n"})
			v.must("config", claims{"oidc_discovery_url": other.URL, "oidc_client_id": clientID,
				"oidc_client_secret": clientSecret})
			switch mode {
			case callbackClient:
				if _, err := v.end(q, claims{"client_nonce": "n"}); err == nil {
					t.Error("logged in")
				}
			case callbackDirect:
				_, _ = v.end(q, nil)
			case callbackDevice:
				if _, err := v.poll(state, "n"); err == nil {
					t.Error("logged in")
				}
			}
			if n := other.exchanged.Load(); n > 0 {
				t.Errorf("the other provider was asked for tokens %d times", n)
			}
		})
	}
}

// TestClientSecretIsForOneConfiguration: a configuration is written as a whole, so that a client secret never meets an
// address that it was not sent with.
func TestClientSecretIsForOneConfiguration(t *testing.T) {
	one, other := newOP(t), newOP(t)
	v := withOP(t, one)
	config := claims{"oidc_discovery_url": other.URL, "oidc_client_id": clientID}
	if _, err := v.call(engines.Update, "config", config); err == nil {
		t.Error("a client without its secret is taken")
	}
	delete(config, "oidc_client_id")
	v.must("config", config)
	if s, err := v.method.setup(t.Context()); err != nil || s.config.OIDC.ClientSecret != "" {
		t.Errorf("the client secret is kept: %v", err)
	}
}
