package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/server/config"
)

// opened is a server on a data folder that an earlier coffer wrote.
type opened struct {
	handler http.Handler
	log     *output
	// What the server of that time handed out.
	UnsealKey string `json:"unseal_key"`
	RootToken string `json:"root_token"`
	Token     string `json:"token"`
	Login     string `json:"login"`
	RoleID    string `json:"role_id"`
	SecretID  string `json:"secret_id"`
	// Versions is how many versions secret/many was written, of which 80 are kept; 0 when it is not there.
	Versions int `json:"versions"`
}

// TestFormats opens a data folder of each format that there was. A change of what is stored gets a version, a
// conversion, and one more folder here: testdata/formats/README.md says what is in them and how they are made.
func TestFormats(t *testing.T) {
	files, err := filepath.Glob("testdata/formats/*.db.gz")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".db.gz"), func(t *testing.T) {
			o := openFormat(t, file)
			o.want(t, "GET", "secret/data/app", o.Token, "", `"k":"v2"`)
			o.want(t, "GET", "secret/data/app?version=1", o.Login, "", `"k":"v1"`)
			o.want(t, "GET", "secret/metadata/app", o.RootToken, "", `"a":"b"`)
			if o.Versions > 0 {
				o.wantVersions(t)
			}
			o.want(t, "GET", "kv1/a", o.RootToken, "", `"k":"v"`)
			o.want(t, "GET", "cubbyhole/x", o.RootToken, "", `"k":"v"`)
			o.want(t, "GET", "identity/entity/name/e", o.RootToken, "", `"policies":["p"]`)
			o.want(t, "GET", "identity/group/name/g", o.RootToken, "", `"policies":["p"]`)
			o.want(t, "POST", "auth/userpass/login/u", "", `{"password":"p"}`, `"client_token"`)
			login := fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, o.RoleID, o.SecretID)
			o.want(t, "POST", "auth/approle/login", "", login, `"client_token"`)
			o.want(t, "POST", "auth/token/renew-self", o.Token, `{}`, `"client_token"`)
			// What was issued before goes with its mount, and leaves the path free.
			o.want(t, "DELETE", "sys/auth/userpass", o.RootToken, "", "")
			o.refused(t, "auth/token/lookup-self", o.Login)
			o.want(t, "POST", "sys/auth/userpass", o.RootToken, `{"type":"userpass"}`, "")
			o.want(t, "PUT", "sys/leases/revoke-prefix/auth/token/create", o.RootToken, "", "")
			o.refused(t, "auth/token/lookup-self", o.Token)
			o.want(t, "POST", "sys/remount", o.RootToken, `{"from":"auth/approle","to":"auth/moved"}`, "")
			for line := range strings.Lines(o.log.String()) {
				if strings.Contains(line, "level=ERROR") {
					t.Errorf("the log: %s", line)
				}
			}
		})
	}
}

// wantVersions reads a secret of many versions as it was left: all but version 12, which is deleted, and 13, which is
// destroyed. It writes one more, reads all again, and undeletes.
func (o *opened) wantVersions(t *testing.T) {
	t.Helper()
	all := func(first, last int) {
		t.Helper()
		for n := first - 1; n <= last; n++ {
			path := fmt.Sprintf("secret/data/many?version=%d", n)
			if n >= first && n != 12 && n != 13 {
				o.want(t, "GET", path, o.RootToken, "", fmt.Sprintf(`"n":"%d"`, n))
			} else if w := o.call("GET", path, o.RootToken, ""); w.Code != http.StatusNotFound {
				t.Errorf("version %d: %d %s; want 404", n, w.Code, w.Body)
			}
		}
		about := o.call("GET", "secret/metadata/many", o.RootToken, "").Body.String()
		for _, want := range []string{fmt.Sprintf(`"oldest_version":%d`, first), fmt.Sprintf(`"current_version":%d`, last)} {
			if !strings.Contains(about, want) || strings.Count(about, `"created_time"`) != 1+last-first+1 {
				t.Errorf("%s; want %s", about, want)
			}
		}
	}
	first, last := o.Versions-79, o.Versions
	all(first, last)
	o.want(t, "POST", "secret/data/many", o.RootToken, fmt.Sprintf(`{"data":{"n":"%d"}}`, last+1), "")
	all(first+1, last+1)
	o.want(t, "POST", "secret/undelete/many", o.RootToken, `{"versions":[12,13]}`, "")
	o.want(t, "GET", "secret/data/many?version=12", o.RootToken, "", `"n":"12"`)
	o.want(t, "DELETE", "secret/metadata/many", o.RootToken, "", "")
}

func openFormat(t *testing.T, file string) *opened {
	t.Helper()
	o := &opened{log: new(output)}
	about, err := os.ReadFile(strings.TrimSuffix(file, ".db.gz") + ".json")
	if err == nil {
		err = json.Unmarshal(about, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unpack(t, file, filepath.Join(dir, "coffer.db"))
	conf := filepath.Join(dir, "coffer.hcl")
	text := fmt.Sprintf("storage \"file\" { path = %q }\nlistener \"tcp\" { tls_disable = true }\ndisable_mlock = true\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load([]string{conf}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(o.log, nil))
	s, err := startCore(cfg, &logging{Logger: log, level: new(slog.LevelVar)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	o.handler = s.Handler(cfg.Listeners[0])
	o.want(t, "PUT", "sys/unseal", "", fmt.Sprintf(`{"key":%q}`, o.UnsealKey), `"sealed":false`)
	for limit := time.Now().Add(10 * time.Second); !strings.Contains(o.log.String(), "leases loaded"); {
		if time.Now().After(limit) {
			t.Fatalf("the leases are not loaded; the log: %s", o.log.String())
		}
		<-time.After(time.Millisecond)
	}
	return o
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	packed, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packed.Close() }()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (o *opened) call(method, path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/v1/"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	return w
}

func (o *opened) want(t *testing.T, method, path, token, body, want string) {
	t.Helper()
	if w := o.call(method, path, token, body); w.Code >= http.StatusMultipleChoices || !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s %s: %d %s; want %s", method, path, w.Code, w.Body, want)
	}
}

func (o *opened) refused(t *testing.T, path, token string) {
	t.Helper()
	if w := o.call("GET", path, token, ""); w.Code != http.StatusForbidden {
		t.Errorf("%s: %d %s; want 403", path, w.Code, w.Body)
	}
}
