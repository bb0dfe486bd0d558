package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jimlambrt/gldap"

	"coffer/api-tests/servers"
)

// A directory with one person in one group.
const (
	alicesDN       = "uid=alice,ou=people,dc=example,dc=org"
	alicesPassword = "wonderland"
)

// serveDirectory starts an LDAP server and returns its address.
func serveDirectory(t *testing.T) string {
	t.Helper()
	server, err := gldap.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	mux, err := gldap.NewMux()
	if err != nil {
		t.Fatal(err)
	}
	bind := func(w *gldap.ResponseWriter, r *gldap.Request) {
		response := r.NewBindResponse(gldap.WithResponseCode(gldap.ResultInvalidCredentials))
		m, err := r.GetSimpleBindMessage()
		if err == nil && m.UserName == alicesDN && m.Password == alicesPassword {
			response.SetResultCode(gldap.ResultSuccess)
		}
		_ = w.Write(response)
	}
	search := func(w *gldap.ResponseWriter, r *gldap.Request) {
		m, err := r.GetSearchMessage()
		switch {
		case err != nil:
		case m.BaseDN == alicesDN:
			alice := r.NewSearchResponseEntry(alicesDN)
			alice.AddAttribute("uid", []string{"alice"})
			_ = w.Write(alice)
		case strings.Contains(m.Filter, alicesDN):
			group := r.NewSearchResponseEntry("cn=engineers,ou=groups,dc=example,dc=org")
			group.AddAttribute("cn", []string{"engineers"})
			_ = w.Write(group)
		}
		_ = w.Write(r.NewSearchDoneResponse(gldap.WithResponseCode(gldap.ResultSuccess)))
	}
	for _, err := range []error{mux.Bind(bind), mux.Search(search), server.Router(mux)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	address := freePort(t)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(address) }()
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	for deadline := time.Now().Add(pollFor); !server.Ready(); {
		if time.Now().After(deadline) {
			t.Fatal("the directory does not start")
		}
		<-time.After(time.Millisecond)
	}
	return address
}

// TestLoginWithLDAP logs in with vault's general commands: its minimal build has neither the method nor
// "login -method=ldap", which sends the same request.
func TestLoginWithLDAP(t *testing.T) {
	vault, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	s := servers.ReadyForTest(t, servers.Coffer, servers.Options{Storage: servers.InMemory})
	user := []string{"HOME=" + t.TempDir(), "VAULT_ADDR=" + s.Addr(), "VAULT_MAX_RETRIES=0"}
	admin := append(user, "VAULT_TOKEN="+s.RootToken)
	for _, args := range [][]string{
		{"auth", "enable", "ldap"},
		{"write", "auth/ldap/config", "url=ldap://" + serveDirectory(t), "userdn=ou=people,dc=example,dc=org",
			"userattr=uid", "groupdn=ou=groups,dc=example,dc=org"},
		{"write", "auth/ldap/groups/engineers", "policies=engineering"},
		{"write", "auth/ldap/users/alice", "policies=of-alice"},
	} {
		mustSay(t, run(t, vault, admin, args...), "Success! ")
	}
	// A group of identity whose members are the directory's group.
	group := strings.TrimSpace(run(t, vault, admin, "write", "-field=id", "identity/group", "name=eng", "type=external",
		"policies=from-group"))
	accessor := strings.TrimSpace(run(t, vault, admin, "read", "-field=accessor", "sys/auth/ldap"))
	mustSay(t, run(t, vault, admin, "write", "identity/group-alias", "name=engineers", "mount_accessor="+accessor,
		"canonical_id="+group), "canonical_id")
	login := func(password string, options ...string) string {
		args := append([]string{"write"}, options...)
		return run(t, vault, user, append(args, "auth/ldap/login/alice", "password="+password)...)
	}
	mustSay(t, login(alicesPassword), `["default" "engineering" "of-alice"]`)
	mustSay(t, login(alicesPassword), `["from-group"]`)
	mustSay(t, login("x"), "invalid credentials")
	alice := append(user, "VAULT_TOKEN="+login(alicesPassword, "-field=token"))
	mustSay(t, run(t, vault, alice, "token", "renew"), "token_meta_username ")
	mustSay(t, run(t, vault, alice, "token", "lookup"), "auth/ldap/login/alice")
	// All spellings of a name have one counter.
	for _, name := range []string{"alice", "ALICE", "%20alice", "alice%20", "%E2%80%8Balice"} {
		a, err := s.Call(t.Context(), http.MethodPost, "auth/ldap/login/"+name, "", map[string]string{"password": "x"})
		if err != nil || a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d, %v: %s", name, a.Status, err, a.Raw)
		}
	}
	mustSay(t, login(alicesPassword), "permission denied")
	if log := s.LogTail(1 << 20); strings.Contains(log, alicesPassword) {
		t.Error("the log holds the password")
	}
}
