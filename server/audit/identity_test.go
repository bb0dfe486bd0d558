package audit

import (
	"path/filepath"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/storage/memory"
)

// What identity adds is told apart from the token's own policies.
func TestEntriesTellPoliciesOfIdentity(t *testing.T) {
	b := newBroker(memory.New())
	defer b.Close()
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(t, b, "f/", map[string]string{"file_path": file})
	e := testEntry()
	e.Request.Caller.EntityID = "e1"
	e.IdentityPolicies = []string{"own", "aud", "grp", "own"}
	e.Response = &engines.Response{Auth: &engines.Auth{
		Token: engines.NewToken("hvs.new"), Policies: []string{"a", "b"}, TokenPolicies: []string{"a"}, IdentityPolicies: []string{"b"},
	}}
	if err := b.LogResponse(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	log := lines(t, b, "f", file)[0]
	for _, want := range []string{
		`"entity_id":"e1","identity_policies":["aud","grp","own"],`, `"policies":["aud","default","grp","own"],`,
		`"token_policies":["aud","default"],`, `"identity_policies":["b"],"policies":["a","b"],"token_policies":["a"]`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
}
