package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/server/core"
	"coffer/storage/memory"
)

// holder makes a token of the entity with an alias, new or not, and returns both.
func holder(t *testing.T, c *core.Core, root, alias string) (token, entity string) {
	t.Helper()
	must(t, c, root, engines.Update, "auth/token/roles/any", map[string]any{"allowed_entity_aliases": []any{"*"}})
	auth := must(t, c, root, engines.Update, "auth/token/create/any",
		map[string]any{"entity_alias": alias, "policies": []any{"default"}}).Auth
	return auth.Token.Reveal(), auth.EntityID
}

func refused(t *testing.T, c *core.Core, token, why string) {
	t.Helper()
	for _, path := range []string{
		"auth/token/lookup-self", "secret/data/x", "nope/x", "sys/internal/ui/mounts/secret", "sys/internal/ui/mounts",
	} {
		_, err := do(t.Context(), c, token, engines.Read, path, nil)
		if !errors.Is(err, engines.ErrDenied) || err.Error() != "permission denied" {
			t.Errorf("%s: %s: %v", why, path, err)
		}
	}
}

func TestTokensOfADisabledOrDeletedEntityAreRefusedAtOnce(t *testing.T) {
	c, key, root := server(t, memory.New())
	token, entity := holder(t, c, root, "bob")
	must(t, c, token, engines.Read, "auth/token/lookup-self", nil)

	must(t, c, root, engines.Update, "identity/entity/id/"+entity, map[string]any{"disabled": true})
	refused(t, c, token, "disabled")
	// What is open to everybody stays open.
	must(t, c, token, engines.Read, "identity/oidc/.well-known/keys", nil)
	must(t, c, root, engines.Update, "identity/entity/id/"+entity, map[string]any{"disabled": false})
	must(t, c, token, engines.Read, "auth/token/lookup-self", nil)

	must(t, c, root, engines.Delete, "identity/entity/id/"+entity, nil)
	refused(t, c, token, "deleted")
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
		t.Fatal(err)
	}
	refused(t, c, token, "deleted, after a restart")
}

func TestPoliciesOfIdentityJoinTheTokens(t *testing.T) {
	c, key, root := server(t, memory.New())
	must(t, c, root, engines.Update, "secret/data/x", map[string]any{"data": map[string]any{"k": "v"}})
	must(t, c, root, engines.Update, "sys/policies/acl/rd",
		map[string]any{"policy": `path "secret/data/*" { capabilities = ["read"] }`})
	must(t, c, root, engines.Update, "sys/policies/acl/no",
		map[string]any{"policy": `path "secret/data/*" { capabilities = ["deny"] }`})
	token, entity := holder(t, c, root, "bob")
	may := func(what string, want bool) {
		t.Helper()
		_, err := do(t.Context(), c, token, engines.Read, "secret/data/x", nil)
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	may("nothing yet", false)
	group := must(t, c, root, engines.Update, "identity/group",
		map[string]any{"name": "g", "policies": []any{"rd"}, "member_entity_ids": []any{entity}}).Data["id"]
	may("by a group", true)
	must(t, c, root, engines.Update, "identity/entity/id/"+entity, map[string]any{"policies": []any{"no"}})
	may("a deny of the entity", false)
	must(t, c, root, engines.Update, "identity/entity/id/"+entity, map[string]any{"policies": []any{}})
	may("without the deny", true)
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Unseal(t.Context(), core.Call{Params: map[string]any{"key": key}}); err != nil {
		t.Fatal(err)
	}
	may("after a restart", true)
	must(t, c, root, engines.Delete, fmt.Sprint("identity/group/id/", group), nil)
	may("without the group", false)
}

// A value that somebody chose for himself cannot widen a templated path.
func TestTemplatesCannotBeWidened(t *testing.T) {
	c, _, root := server(t, memory.New())
	for _, name := range []string{"bob", "eve", "a/b"} {
		must(t, c, root, engines.Update, "secret/data/home/"+name, map[string]any{"data": map[string]any{"k": "v"}})
	}
	must(t, c, root, engines.Update, "sys/policies/acl/default",
		map[string]any{"policy": `path "secret/data/home/{{identity.entity.name}}" { capabilities = ["read"] }
path "secret/data/+/{{identity.entity.metadata.k}}" { capabilities = ["read"] }`})
	token, entity := holder(t, c, root, "bob")
	for name, reads := range map[string]string{
		"bob": "bob", "BOB": "", "*": "", "+": "", "b*": "", "?": "", "eve/": "", "a/b": "", "{{identity.entity.id}}": "", "..": "", " bob": "",
	} {
		must(t, c, root, engines.Update, "identity/entity/id/"+entity,
			map[string]any{"name": name, "metadata": map[string]any{"k": name}})
		for _, path := range []string{"bob", "eve", "a/b"} {
			_, err := do(t.Context(), c, token, engines.Read, "secret/data/home/"+path, nil)
			if want := path == reads; (err == nil) != want {
				t.Errorf("as %q: read of %s: %v", name, path, err)
			}
		}
	}
}

// Every route of identity asks for a token and for a capability, but for the two that others need.
func TestRoutesOfIdentityAreClosed(t *testing.T) {
	c, _, root := server(t, memory.New())
	plain := newToken(t, c, root, map[string]any{"policies": []any{"default"}})
	id := "2a3a3b9c-7d7e-4d0b-9d57-5f7c5bb5b123"
	for _, path := range []string{
		"entity", "entity/id/" + id, "entity/name/x", "entity/batch-delete", "entity/merge", "entity-alias",
		"entity-alias/id/" + id, "group", "group/id/" + id, "group/name/x", "group-alias", "group-alias/id/" + id,
		"lookup/entity", "lookup/group", "oidc/config", "oidc/key/k", "oidc/key/k/rotate", "oidc/role/r", "oidc/token/r",
		"oidc/introspect",
	} {
		for _, op := range []engines.Operation{engines.Read, engines.Update, engines.Delete, engines.List} {
			if _, err := do(t.Context(), c, "", op, "identity/"+path, nil); err == nil || err.Error() != "permission denied" {
				t.Errorf("%s %s without a token: %v", op, path, err)
			}
			if _, err := do(t.Context(), c, plain, op, "identity/"+path, nil); !errors.Is(err, engines.ErrDenied) {
				t.Errorf("%s %s without the capability: %v", op, path, err)
			}
		}
	}
	for _, path := range []string{"openid-configuration", "keys"} {
		must(t, c, "", engines.Read, "identity/oidc/.well-known/"+path, nil)
	}
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"entity", "oidc/.well-known/keys"} {
		if _, err := do(t.Context(), c, root, engines.Read, "identity/"+path, nil); !errors.Is(err, engines.ErrSealed) {
			t.Errorf("%s while sealed: %v", path, err)
		}
	}
}

func TestSignedTokensNameTheEntity(t *testing.T) {
	c, _, root := server(t, memory.New())
	token, entity := holder(t, c, root, "bob")
	must(t, c, root, engines.Update, "identity/oidc/role/r", map[string]any{"key": "default"})
	must(t, c, root, engines.Update, "sys/policies/acl/default",
		map[string]any{"policy": `path "identity/oidc/token/*" { capabilities = ["read"] }`})
	signed, ok := must(t, c, token, engines.Read, "identity/oidc/token/r", nil).Data["token"].(string)
	if !ok || strings.Count(signed, ".") != 2 {
		t.Fatalf("token %q", signed)
	}
	active := func(want bool) {
		t.Helper()
		raw := must(t, c, root, engines.Update, "identity/oidc/introspect", map[string]any{"token": signed}).Raw
		var answer struct{ Active bool }
		if err := json.Unmarshal(raw.Body, &answer); err != nil || answer.Active != want {
			t.Errorf("%s: %v, want active %v", raw.Body, err, want)
		}
	}
	active(true)
	must(t, c, root, engines.Delete, "identity/entity/id/"+entity, nil)
	active(false)
	if _, err := do(t.Context(), c, root, engines.Read, "identity/oidc/token/r", nil); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("a token without an entity: %v", err)
	}
}
