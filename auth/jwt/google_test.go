package jwt

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

func TestGroupsOfGoogleWorkspace(t *testing.T) {
	const fields = "&fields=nextPageToken%2Cgroups%28email%29"
	for _, tt := range []struct {
		name     string
		settings claims
		groups   []string
		asked    []string
	}{
		{"direct", claims{"fetch_groups": true}, []string{"dev@x", "ops@x", "all@x"}, []string{
			"groups?" + fields[1:] + "&userKey=ann%40example.org",
			"groups?" + fields[1:] + "&pageToken=page-1&userKey=ann%40example.org"}},
		{"of one domain", claims{"fetch_groups": true, "domain": "x"}, []string{"dev@x", "ops@x", "all@x"}, []string{
			"groups?domain=x" + fields + "&userKey=ann%40example.org",
			"groups?domain=x" + fields + "&pageToken=page-1&userKey=ann%40example.org"}},
		{"one deep", claims{"fetch_groups": true, "groups_recurse_max_depth": json.Number("1")},
			[]string{"dev@x", "staff@x", "ops@x", "all@x"}, nil},
		{"as deep as they go, in a circle", claims{"fetch_groups": true, "groups_recurse_max_depth": json.Number("9")},
			[]string{"dev@x", "staff@x", "world@x", "ops@x", "all@x"}, nil},
		{"not wanted", claims{}, []string{"own"}, []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorkspace(t)
			w.groups = map[string][][]string{"ann@example.org": {{"dev@x", "ops@x"}, {"all@x", "dev@x", ""}},
				"dev@x": {{"staff@x", "ops@x"}}, "staff@x": {{"world@x", "dev@x"}}, "world@x": {{"staff@x"}}}
			v := w.mounted(tt.settings)
			login, err := v.login("r", "rsa", annOf(claims{"groups": []any{"own"}}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.groups, login.GroupAliases); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
			if asked := w.take(); tt.asked != nil && !slices.Equal(asked, tt.asked) {
				t.Errorf("asked %q, want %q", asked, tt.asked)
			}
		})
	}
}

// TestGroupsOfGoogleWorkspaceAreBound: a role's bound claims see what was fetched.
func TestGroupsOfGoogleWorkspaceAreBound(t *testing.T) {
	w := newWorkspace(t)
	w.groups = map[string][][]string{"ann@example.org": {{"dev@x"}}}
	v := w.mounted(claims{"fetch_groups": true})
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "email", "bound_claims": claims{"groups": []any{"dev@x"}}})
	if _, err := v.login("r", "rsa", annOf(nil)); err != nil {
		t.Error(err)
	}
	if _, err := v.login("r", "rsa", annOf(claims{"email": "bob@example.org", "groups": []any{"dev@x"}})); err == nil {
		t.Error("let in by groups that the token says")
	}
	v.must("role/none", claims{"role_type": "jwt", "user_claim": "email", "bound_audiences": "a"})
	w.take()
	if _, err := v.login("none", "rsa", annOf(nil)); err != nil || len(w.take()) != 0 {
		t.Errorf("a role without groups_claim: %v, or groups were fetched", err)
	}
}

func TestUserInfoOfGoogleWorkspace(t *testing.T) {
	w := newWorkspace(t)
	w.schemas["a/b ?@example.org"] = claims{"Education": claims{"year": "1999", "n": 5}, "sub": claims{"x": "y"}}
	v := w.mounted(claims{"fetch_user_info": true, "user_custom_schemas": "Education, Preferences"})
	v.must("role/r", claims{"role_type": "jwt", "user_claim": "email", "groups_claim": "",
		"claim_mappings": claims{"/Education/year": "year", "/Preferences/size": "size", "sub": "id"},
		"bound_claims":   claims{"/Education/n": 5}})
	login, err := v.login("r", "rsa", annOf(claims{"email": "a/b ?@example.org"}))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"role": "r", "year": "1999", "id": "1"}; !maps.Equal(want, login.Metadata) {
		t.Errorf("metadata %v, want %v", login.Metadata, want)
	}
	want := "users/a%2Fb%20%3F@example.org?customFieldMask=Education%2CPreferences&fields=customSchemas&projection=custom"
	if asked := w.take(); !slices.Equal(asked, []string{want}) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	// What the token says of somebody is never replaced.
	w.configure(v, claims{"fetch_user_info": true, "user_custom_schemas": "Education,sub"})
	_, err = v.login("r", "rsa", annOf(claims{"email": "a/b ?@example.org"}))
	if err == nil || !strings.Contains(err.Error(), `the schema "sub" is called like a claim`) {
		t.Errorf("a schema called like a claim: %v", err)
	}
	w.take()
	for _, user := range []string{"..", ".", ""} {
		if _, err := v.login("r", "rsa", annOf(claims{"email": user})); err == nil {
			t.Errorf("%q is somebody", user)
		}
	}
	if asked := w.take(); len(asked) != 0 {
		t.Errorf("asked %q for nobody", asked)
	}
}

// TestServiceAccountProvesItself: what Google is sent says who asks, for whom, for what, and until when.
func TestServiceAccountProvesItself(t *testing.T) {
	for _, admin := range []string{"admin@example.org", ""} {
		w := newWorkspace(t)
		v := w.mounted(claims{"fetch_groups": true, "gsuite_admin_impersonate": admin})
		for range 3 {
			if _, err := v.login("r", "rsa", annOf(nil)); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.assertions) != 1 {
			t.Fatalf("%d access tokens for 3 logins", len(w.assertions))
		}
		signed, err := jose.ParseSignedCompact(w.assertions[0], []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := signed.Verify(keyring()["other"].Public())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := decodeJSON(payload, &got); err != nil {
			t.Fatal(err)
		}
		number := func(t time.Time) json.Number { return json.Number(fmt.Sprint(t.Unix())) }
		want := claims{"iss": "reader@project.example", "aud": w.URL + "/token", "scope": googleScopes,
			"iat": number(epoch), "exp": number(epoch.Add(time.Hour)), "sub": admin}
		if admin == "" {
			delete(want, "sub")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("assertion (-want +got):\n%s", diff)
		}
		if id := signed.Signatures[0].Header.KeyID; id != "k1" {
			t.Errorf("key id %q", id)
		}
	}
}

// TestServiceAccountInAFile: the file is read when a token is needed, so that its key can be replaced.
func TestServiceAccountInAFile(t *testing.T) {
	w := newWorkspace(t)
	path := filepath.Join(t.TempDir(), "account.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(w.key(nil))
	v := w.mounted(claims{"fetch_groups": true, "gsuite_service_account": path})
	login := func() error {
		_, err := v.login("r", "rsa", annOf(nil))
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	write("gone")
	if err := login(); err != nil {
		t.Errorf("the access token is still good: %v", err)
	}
	v.pass(time.Hour)
	if err := login(); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("without the key: %v", err)
	}
	write(w.key(claims{"client_email": "second@project.example"}))
	if err := login(); err != nil {
		t.Error(err)
	}
	// The mount works without the file: only logins need it.
	write("gone")
	again := mount(t, v.store)
	if _, err := again.call(engines.Read, "config", nil); err != nil {
		t.Error(err)
	}
}

func TestGSuiteSettingsThatAreRefused(t *testing.T) {
	w := newWorkspace(t)
	v := w.mounted(nil)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(`{"type":"file-canary","private_key":"file-canary"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		settings claims
		want     string
	}{
		"no account":     {claims{"gsuite_service_account": ""}, errNoAccount.Error()},
		"null":           {claims{"gsuite_service_account": nil}, errNoAccount.Error()},
		"another letter": {claims{"gsuite_service_account": nil, "gsuİte_service_account": w.key(nil)}, errNoAccount.Error()},
		"an object":      {claims{"gsuite_service_account": claims{"private_key": "canary"}}, "'gsuite_service_account' must be a string"},
		"twice":          {claims{"GSuite_Service_Account": "canary"}, "'gsuite_service_account' is there twice"},
		"no file":        {claims{"gsuite_service_account": "/nowhere/x.json"}, errAccount.Error()},
		"a folder":       {claims{"gsuite_service_account": t.TempDir()}, errAccount.Error()},
		"endless":        {claims{"gsuite_service_account": "/dev/zero"}, errAccount.Error()},
		"another file":   {claims{"gsuite_service_account": secret}, errAccountType.Error()},
		"no JSON": {claims{"gsuite_service_account": "{canary"},
			"error parsing service account JSON: invalid character 'c' looking for beginning of object key string"},
		"nothing":      {claims{"gsuite_service_account": "{}"}, otherType("")},
		"a user":       {claims{"gsuite_service_account": `{"type":"authorized_user"}`}, otherType("authorized_user")},
		"a wrong type": {claims{"gsuite_service_account": `{"type":5}`}, errAccount.Error()},
		"no mail":      {claims{"gsuite_service_account": w.key(claims{"client_email": ""})}, errAccountMail.Error()},
		"no key":       {claims{"gsuite_service_account": w.key(claims{"private_key": ""})}, errAccountKey.Error()},
		"bad key":      {claims{"gsuite_service_account": w.key(claims{"private_key": "canary"})}, errAccountKey.Error()},
		"another key":  {claims{"gsuite_service_account": w.key(claims{"private_key": ecKey(t)})}, errAccountKey.Error()},
		"http":         {claims{"gsuite_service_account": w.key(claims{"token_uri": "http://127.0.0.1/token"})}, errAccountURI.Error()},
		"a text":       {claims{"fetch_groups": "true"}, "'fetch_groups' must be a bool"},
		"a number":     {claims{"fetch_user_info": json.Number("1")}, "'fetch_user_info' must be a bool"},
		"a list":       {claims{"user_custom_schemas": []any{"a"}}, "'user_custom_schemas' must be a string"},
		"below zero":   {claims{"groups_recurse_max_depth": json.Number("-1")}, "'gsuite_recurse_max_depth' must be a positive integer"},
		"a fraction":   {claims{"groups_recurse_max_depth": json.Number("1.5")}, "'groups_recurse_max_depth' must be an integer"},
		"depth text":   {claims{"groups_recurse_max_depth": "5"}, "'groups_recurse_max_depth' must be an integer"},
	} {
		t.Run(name, func(t *testing.T) {
			all := claims{"provider": "gsuite", "gsuite_service_account": w.key(nil)}
			maps.Copy(all, tt.settings)
			_, err := v.call(engines.Update, "config",
				claims{"jwt_validation_pubkeys": publicPEM(t, "rsa"), "provider_config": all})
			want := `invalid provider_config: error initializing "gsuite" provider_config: ` + tt.want
			if err == nil || err.Error() != want || !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func otherType(name string) string {
	return fmt.Sprintf("error parsing service account JSON: google: read JWT from JSON credentials: "+
		"'type' field is %q (expected \"service_account\")", name)
}

func ecKey(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(keyring()["ec"])
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestServiceAccountIsNeverShown: neither by a read, however its name was spelt, nor by the log.
func TestServiceAccountIsNeverShown(t *testing.T) {
	w := newWorkspace(t)
	v := w.mounted(claims{"fetch_groups": true, "gsuite_service_account": nil, "GSuite_Service_Account": w.key(nil), "more": "x"})
	resp, err := v.call(engines.Read, "config", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"provider": "gsuite", "gsuite_admin_impersonate": "admin@example.org", "fetch_groups": true, "more": "x"}
	if diff := cmp.Diff(want, resp.Data["provider_config"]); diff != "" {
		t.Errorf("provider_config (-want +got):\n%s", diff)
	}
}

// TestTroubleWithGoogle: nobody comes in with fewer groups than he has, nothing waits without end, and nobody is told
// what Google said.
func TestTroubleWithGoogle(t *testing.T) {
	const could = "failed to fetch groups: Google's directory could not be asked"
	onGroups := func(w *workspace, f http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				w.serve(rw, r)
				return
			}
			f(rw, r)
		}
	}
	says := func(status int, text string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			_, _ = rw.Write([]byte(text))
		}
	}
	many := func(rw http.ResponseWriter, r *http.Request) {
		page := r.FormValue("pageToken")
		fmt.Fprint(rw, `{"groups":[{"email":"last"}`)
		for i := range 300 {
			fmt.Fprintf(rw, `,{"email":"%sx%d"}`, page, i)
		}
		fmt.Fprintf(rw, `],"nextPageToken":"%sn"}`, page)
	}
	for _, tt := range []struct {
		name string
		with func(*workspace) http.HandlerFunc
		want string
	}{
		{"no token", func(*workspace) http.HandlerFunc { return says(400, `{"error":"invalid_grant"}`) }, could},
		{"a token of nothing", func(*workspace) http.HandlerFunc { return says(200, `{}`) }, could},
		{"denied", func(w *workspace) http.HandlerFunc { return onGroups(w, says(403, `{"error":"private words"}`)) }, could},
		{"unknown", func(w *workspace) http.HandlerFunc { return onGroups(w, says(404, ``)) }, could},
		{"nonsense", func(w *workspace) http.HandlerFunc { return onGroups(w, says(200, `{"groups":5}`)) }, could},
		{"endless", func(w *workspace) http.HandlerFunc {
			return onGroups(w, says(200, strings.Repeat(" ", maxAnswer+1)+"{}"))
		}, could},
		{"elsewhere", func(w *workspace) http.HandlerFunc {
			return onGroups(w, func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "http://127.0.0.1:1/", http.StatusFound)
			})
		}, could},
		{"pages without end", func(w *workspace) http.HandlerFunc { return onGroups(w, says(200, `{"nextPageToken":"x"}`)) },
			"failed to fetch groups: it takes more than 200 requests"},
		{"too many groups", func(w *workspace) http.HandlerFunc { return onGroups(w, many) },
			"failed to fetch groups: the user is in more than 1000 groups"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorkspace(t)
			v := w.mounted(claims{"fetch_groups": true, "groups_recurse_max_depth": json.Number("0")})
			w.intercepted(tt.with(w))
			_, err := v.login("r", "rsa", annOf(nil))
			if err == nil || err.Error() != tt.want || !errors.Is(err, engines.ErrInvalid) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			for _, secret := range []string{accessCanary, "PRIVATE KEY", "assertion"} {
				if strings.Contains(v.log.String(), secret) {
					t.Errorf("%q is in the log: %s", secret, v.log)
				}
			}
			w.intercepted(nil)
			if _, err := v.login("r", "rsa", annOf(nil)); err != nil {
				t.Errorf("when it is over: %v", err)
			}
		})
	}
}

// TestAccessTokenThatIsRefused is replaced at the next login.
func TestAccessTokenThatIsRefused(t *testing.T) {
	w := newWorkspace(t)
	v := w.mounted(claims{"fetch_groups": true})
	for _, refuse := range []bool{false, true, false} {
		w.intercepted(nil)
		if refuse {
			w.intercepted(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusUnauthorized) })
		}
		if _, err := v.login("r", "rsa", annOf(nil)); (err != nil) != refuse {
			t.Errorf("refused %v: %v", refuse, err)
		}
	}
	if n := len(w.assertions); n != 2 {
		t.Errorf("%d access tokens, want 2", n)
	}
}

// TestSilentGoogleIsLeft: whoever gives up waiting for Google is let go, and Google is asked no more than a few times.
func TestSilentGoogleIsLeft(t *testing.T) {
	w := newWorkspace(t)
	v := w.mounted(claims{"fetch_groups": true})
	silence, asked := make(chan struct{}), make(chan struct{}, 1)
	w.intercepted(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		select {
		case <-silence:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(silence) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c := annOf(claims{"iat": epoch.Unix(), "exp": epoch.Unix() + 300})
	go func() {
		_, err := v.callWith(ctx, engines.Update, "login", claims{"role": "r", "jwt": sign(t, "rsa", c)})
		done <- err
	}()
	<-asked
	cancel()
	if err := <-done; err == nil {
		t.Error("let in")
	}
}

func FuzzServiceAccount(f *testing.F) {
	w := newWorkspace(f)
	f.Add(w.key(nil))
	f.Add(`{"type":"service_account","client_email":"a","private_key":"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"}`)
	f.Add("/etc/hostname")
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasPrefix(strings.TrimSpace(text), "{") {
			return // the name of a file
		}
		s := &gsuiteSettings{Account: text}
		a, err := s.account()
		if err != nil {
			return
		}
		if _, err := a.assertion("x", epoch); err != nil && !errors.Is(err, errAccountKey) {
			t.Error(err)
		}
	})
}
