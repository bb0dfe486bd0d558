package cli

import (
	"net/http"
	"strings"
	"testing"

	"coffer/api-tests/servers"
)

// TestLoginWithLDAP logs in with vault's general commands and with "vault login -method=ldap".
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
		{"write", "auth/ldap/config", "url=ldap://" + servers.Directory(t), "userdn=ou=people,dc=example,dc=org",
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
	mustSay(t, login(servers.AlicesPassword), `["default" "engineering" "of-alice"]`)
	mustSay(t, login(servers.AlicesPassword), `["from-group"]`)
	mustSay(t, login("x"), "invalid credentials")
	alice := append(user, "VAULT_TOKEN="+login(servers.AlicesPassword, "-field=token"))
	mustSay(t, run(t, vault, alice, "token", "renew"), "token_meta_username ")
	mustSay(t, run(t, vault, alice, "token", "lookup"), "auth/ldap/login/alice")
	// "vault login -method=ldap" keeps the token where the next command finds it.
	loginCommand, err := servers.Binary(t.Context(), servers.LDAPAuth)
	if err != nil {
		t.Fatal(err)
	}
	ldap := func(password string) string {
		return run(t, loginCommand, user, "login", "-method=ldap", "username=alice", "password="+password)
	}
	mustSay(t, ldap("x"), "Error authenticating: Error making API request.")
	mustSay(t, ldap(servers.AlicesPassword), "Success! You are now authenticated.")
	mustSay(t, run(t, vault, user, "token", "lookup"), "auth/ldap/login/alice")
	// All spellings of a name have one counter.
	for _, name := range []string{"alice", "ALICE", "%20alice", "alice%20", "%E2%80%8Balice"} {
		a, err := s.Call(t.Context(), http.MethodPost, "auth/ldap/login/"+name, "", map[string]string{"password": "x"})
		if err != nil || a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d, %v: %s", name, a.Status, err, a.Raw)
		}
	}
	mustSay(t, login(servers.AlicesPassword), "permission denied")
	if log := s.LogTail(1 << 20); strings.Contains(log, servers.AlicesPassword) {
		t.Error("the log holds the password")
	}
}
