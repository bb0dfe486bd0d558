package http

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client that the provider knows, and who logs in at it.
const (
	providerClient  = "coffer"
	providerSubject = "alice"
)

// startProvider runs a small OpenID provider for the scripts that mention ${idp}. It signs with the key "rsa" and takes
// any code for a login of alice: the code is the nonce of her ID token. Its keys are at /keys; at /liar is the discovery
// document of an issuer with another name, at /broken one that is no JSON.
func startProvider(t *testing.T) string {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	answer := func(w http.ResponseWriter, value any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(value); err != nil {
			t.Errorf("provider: %v", err)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": server.URL, "jwks_uri": server.URL + "/keys", "authorization_endpoint": server.URL + "/authorize",
			"token_endpoint": server.URL + "/token", "userinfo_endpoint": server.URL + "/userinfo",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /liar/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
	})
	mux.HandleFunc("GET /broken/", func(w http.ResponseWriter, _ *http.Request) { answer(w, "broken") })
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		keys, err := signingKeys()
		if err != nil {
			t.Error(err)
			return
		}
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: keys["rsa"].Public(), KeyID: "rsa", Algorithm: "RS256", Use: "sig"},
			{Key: keys["ec"].Public(), KeyID: "ec", Algorithm: "ES256", Use: "sig"},
		}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("code") == "bad" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]any{"error": "invalid_grant"})
			return
		}
		claims, err := json.Marshal(map[string]any{
			"iss": server.URL, "aud": providerClient, "sub": providerSubject, "nonce": r.FormValue("code"),
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "email": "alice@example.org",
			"groups": []string{"admins", "users"}, "age": 42,
		})
		if err != nil {
			t.Error(err)
			return
		}
		token, err := signJWT("rsa", string(claims))
		if err != nil {
			t.Error(err)
			return
		}
		answer(w, map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": token, "expires_in": 60})
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"sub": providerSubject, "nickname": "al"})
	})
	return server.URL
}
