package jwt

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// workspace speaks the two endpoints of Google that are asked: tokens for a service account's assertion, and the
// directory. Google itself cannot run here.
type workspace struct {
	*httptest.Server
	t testing.TB

	mu sync.Mutex
	// What follows is guarded by mu: the pages of each member's groups, custom schemas by user, what was asked, the
	// assertions, and what answers in place of all this.
	groups     map[string][][]string
	schemas    map[string]any
	asked      []string
	assertions []string
	intercept  http.HandlerFunc
}

const accessCanary = "google-access-canary"

func newWorkspace(t testing.TB) *workspace {
	w := &workspace{t: t, groups: map[string][][]string{}, schemas: map[string]any{}}
	w.Server = httptest.NewTLSServer(w)
	t.Cleanup(w.Close)
	return w
}

// ServeHTTP implements http.Handler.
func (w *workspace) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	intercept := w.intercept
	w.mu.Unlock()
	if intercept != nil {
		intercept(rw, r)
		return
	}
	w.serve(rw, r)
}

func (w *workspace) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answer := claims{}
	switch user, ofUser := strings.CutPrefix(r.URL.EscapedPath(), "/directory/users/"); {
	case r.URL.Path == "/token":
		if r.Method != http.MethodPost || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		w.assertions = append(w.assertions, r.FormValue("assertion"))
		answer = claims{"access_token": accessCanary, "token_type": "Bearer", "expires_in": 3600}
	case r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer "+accessCanary:
		rw.WriteHeader(http.StatusUnauthorized)
		return
	case r.URL.Path == "/directory/groups":
		w.asked = append(w.asked, "groups?"+r.URL.RawQuery)
		answer = w.page(r.FormValue("userKey"), r.FormValue("pageToken"))
	case ofUser:
		w.asked = append(w.asked, "users/"+user+"?"+r.URL.RawQuery)
		name, err := url.PathUnescape(user)
		if err != nil {
			w.t.Error(err)
		}
		answer = claims{"customSchemas": w.schemas[name]}
	default:
		rw.WriteHeader(http.StatusNotFound)
	}
	if err := json.NewEncoder(rw).Encode(answer); err != nil {
		w.t.Error(err)
	}
}

// page is the page of a member's groups that a token names: "" for the first, "page-1" for the second.
func (w *workspace) page(member, token string) claims {
	pages, n := w.groups[member], 0
	if token != "" {
		if _, err := fmt.Sscanf(token, "page-%d", &n); err != nil {
			w.t.Error(err)
		}
	}
	if n >= len(pages) {
		return claims{"kind": "admin#directory#groups"}
	}
	list := []any{}
	for _, email := range pages[n] {
		list = append(list, claims{"email": email})
	}
	answer := claims{"groups": list}
	if n+1 < len(pages) {
		answer["nextPageToken"] = fmt.Sprintf("page-%d", n+1)
	}
	return answer
}

func (w *workspace) intercepted(f http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.intercept = f
}

// take is what was asked since the last time.
func (w *workspace) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

// key is the service account's, changed in some fields.
func (w *workspace) key(change claims) string {
	w.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(keyring()["other"])
	if err != nil {
		w.t.Fatal(err)
	}
	fields := claims{"type": "service_account", "client_email": "reader@project.example", "private_key_id": "k1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": w.URL + "/token"}
	maps.Copy(fields, change)
	text, err := json.Marshal(fields)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// mounted is a mount whose directory this is. Tokens are signed with the key "rsa".
func (w *workspace) mounted(settings claims) *mounted {
	v := newMount(w.t)
	v.method.google = googleAPI{directory: w.URL + "/directory",
		roots: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw}))}
	w.configure(v, settings)
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "email", "bound_audiences": "a", "groups_claim": "groups"})
	return v
}

func (w *workspace) configure(v *mounted, settings claims) {
	all := claims{"provider": "gsuite", "gsuite_service_account": w.key(nil), "gsuite_admin_impersonate": "admin@example.org"}
	maps.Copy(all, settings)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	v.must("config", claims{"jwt_validation_pubkeys": publicPEM(w.t, "rsa"), "provider_config": all})
}

func annOf(more claims) claims {
	c := claims{"aud": "a", "sub": "1", "email": "ann@example.org"}
	maps.Copy(c, more)
	return c
}
