package identity

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/policy"
	"coffer/storage"
	"coffer/storage/memory"
)

func newMemory(*testing.T) storage.Storage { return memory.New() }

func testConfig(base storage.Storage) Config {
	return Config{Storage: base, Prefix: "logical/identity/", Mounts: fixedMounts{ldap: {}, jwt: {}},
		Logger: slog.New(slog.DiscardHandler), Now: time.Now}
}

func testHolder() *Holder {
	return &Holder{
		entity: &Entity{ID: "e1", Name: "bob", Metadata: map[string]string{"team": "ops", "a.b": "dotted"}, Aliases: []Alias{{
			ID: "a1", Name: "bob@ldap", MountAccessor: ldap, Metadata: map[string]string{"dn": "cn"},
			Custom: map[string]string{"c": "custom"},
		}}},
		groups: []*Group{
			{ID: "g1", Name: "ops", Metadata: map[string]string{"k": "v"}}, {ID: "g2", Name: "dotted.name", Metadata: map[string]string{"k": "w"}},
		},
	}
}

func TestSelectors(t *testing.T) {
	h := testHolder()
	for selector, want := range map[string]string{
		"identity.entity.id": "e1", "identity.entity.name": "bob", "identity.entity.metadata.team": "ops",
		"identity.entity.metadata.a.b":                           "dotted",
		"identity.entity.aliases." + ldap + ".id":                "a1",
		"identity.entity.aliases." + ldap + ".name":              "bob@ldap",
		"identity.entity.aliases." + ldap + ".metadata.dn":       "cn",
		"identity.entity.aliases." + ldap + ".custom_metadata.c": "custom",
		"identity.groups.ids.g1.name":                            "ops",
		"identity.groups.ids.g1.metadata.k":                      "v",
		"identity.groups.names.ops.id":                           "g1",
		"identity.groups.names.OPS.id":                           "g1",
		"identity.groups.names.ops.metadata.k":                   "v",
		"identity.groups.names.dotted.name.id":                   "g2",
		"identity.groups.names.dotted.name.metadata.k":           "w",
	} {
		if got, err := h.Value(selector); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", selector, got, err, want)
		}
	}
	for _, selector := range []string{
		"", "identity", "identity.entity", "identity.entity.", "identity.entity.nothing", "identity.entity.metadata",
		"identity.entity.metadata.", "identity.entity.metadata.none", "identity.entity.aliases.none.name",
		"identity.entity.aliases." + jwt + ".id", "identity.entity.aliases." + ldap, "identity.groups.ids.none.name",
		"identity.groups.names.none.id", "identity.groups.names..id", "identity.groups.ids.g1", "time.now",
	} {
		if got, err := h.Value(selector); !errors.Is(err, policy.ErrNoValue) {
			t.Errorf("%s: %q, %v", selector, got, err)
		}
	}
}

// A value never makes a rule match more than the value itself.
func FuzzTemplateNeverWidens(f *testing.F) {
	for _, value := range []string{"bob", "*", "+", "a*", "a/b", "..", ".", "", "a\x00b", "{{identity.entity.id}}", "}}", "a b", "\u200b"} {
		f.Add(value, "other")
	}
	const text = `path "secret/{{identity.entity.metadata.k}}/x" { capabilities = ["read"] }
path "list/{{identity.entity.metadata.k}}/*" { capabilities = ["read"] }`
	parsed, err := policy.Parse("p", text)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value, other string) {
		h := &Holder{entity: &Entity{ID: "e", Name: "n", Metadata: map[string]string{"k": value}}}
		expanded, err := parsed.Expand(h.Value)
		if err != nil {
			t.Fatal(err)
		}
		acl := policy.Compile(expanded)
		allowed := func(path string) bool {
			return acl.Decide(policy.Request{Capability: policy.Read, Path: path}).Allowed
		}
		if value != other && allowed("secret/"+other+"/x") {
			t.Errorf("value %q grants secret/%s/x", value, other)
		}
		if !strings.HasPrefix(other, value+"/") && value != other && allowed("list/"+other+"/x") {
			t.Errorf("value %q grants list/%s/x", value, other)
		}
	})
}

func FuzzSelector(f *testing.F) {
	for _, selector := range []string{"identity.entity.id", "identity.entity.aliases." + ldap + ".metadata.dn", "identity.groups.names.a.b.id", "..."} {
		f.Add(selector)
	}
	h := testHolder()
	f.Fuzz(func(t *testing.T, selector string) {
		if v, err := h.Value(selector); (err != nil) != (v == "") {
			t.Errorf("%q: %q, %v", selector, v, err)
		}
		h.Metadata(selector)
	})
}

// What can be read can be written and read again; nothing else is accepted, and nothing panics.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "\x01", "\x01{}", "\x02{}", "\x01null", `{"name":"x"}`, "\x01" + `{"name":"x","pol":["root"]}`,
		"\x01" + `{"name":"x","aliases":[{"id":"a","name":"b","mount":"m"}],"crt":"2026-01-02T03:04:05Z","upd":"2026-01-02T03:04:05Z"}`,
		"\x01" + `{"name":"x","ext":true,"alias":{"id":"","name":"b"},"ents":["e"],"groups":["g"],"rev":7}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEntity("id", b); err == nil {
			again, err := encode(e)
			if err != nil {
				t.Fatal(err)
			}
			back, err := decodeEntity("id", again)
			if diff := cmp.Diff(e.Name, back.Name); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			newIndex(fixedMounts{}).setEntity("id", e)
		} else if !errors.Is(err, errCorrupt) {
			t.Errorf("entity: %v", err)
		}
		if g, err := decodeGroup("id", b); err == nil {
			again, err := encode(g)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeGroup("id", again); err != nil {
				t.Error(err)
			}
			newIndex(fixedMounts{}).setGroup("id", g)
		} else if !errors.Is(err, errCorrupt) {
			t.Errorf("group: %v", err)
		}
	})
}
