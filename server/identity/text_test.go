package identity

import (
	"errors"
	"testing"

	"coffer/auth/token"
	"coffer/engines"
)

// JSON would put U+FFFD in the place of what is not UTF-8: two people could become one.
func TestNamesThatAreNotTextAreRefused(t *testing.T) {
	f := newFixture(t)
	for _, a := range []token.Alias{
		{MountAccessor: ldap, Name: "ann\xff"},
		{MountAccessor: ldap, Name: "bob", Metadata: map[string]string{"a": "\xed\xa0\x80"}},
		{MountAccessor: ldap, Name: "bob", Metadata: map[string]string{"\xff": "a"}},
	} {
		if _, err := f.login(a); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%q, %q: %v", a.Name, a.Metadata, err)
		}
	}
	if _, err := f.try(engines.List, "entity/id", nil); !errors.Is(err, engines.ErrNotFound) {
		t.Errorf("a refused login left something: %v", err)
	}
	known := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "bob", Metadata: map[string]string{"a": "\ufffd"}})
	if _, err := f.login(token.Alias{MountAccessor: ldap, Name: "bob", Metadata: map[string]string{"a": "\xff"}}); err == nil {
		t.Error("metadata changed to what cannot be stored")
	}
	if again := f.mustLogin(token.Alias{MountAccessor: ldap, Name: "bob"}); again.ID != known.ID {
		t.Error("bob is somebody else")
	}
	for _, path := range []string{"entity/name/a\xff", "group/name/a\xff"} {
		if _, err := f.try(engines.Update, path, params{}); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestKeysOfMetadata(t *testing.T) {
	f := newFixture(t)
	for key, ok := range map[string]bool{
		"aZ09=/+_-": true, "b c": false, "b.c": false, "é": false, "b:": false, "\t": false, "": false,
	} {
		for _, path := range []string{"entity/name/e", "group/name/g"} {
			if _, err := f.try(engines.Update, path, params{"metadata": params{key: "é \t"}}); (err == nil) != ok {
				t.Errorf("%s with the key %q: %v", path, key, err)
			}
		}
	}
}

// An explicit null leaves an alias without custom metadata, which is shown as null.
func TestCustomMetadataOfNull(t *testing.T) {
	f := newFixture(t)
	id := f.make("entity-alias", params{"name": "ann", "mount_accessor": ldap, "custom_metadata": params{"a": "b"}})
	for _, tt := range []struct {
		sent params
		want any
	}{
		{params{"custom_metadata": nil}, nil},
		{params{"custom_metadata": params{"a": "c"}}, map[string]string{"a": "c"}},
		{params{"custom_metadata": params{}}, map[string]string{}},
		{params{"custom_metadata": nil}, map[string]string{}}, // nothing to change
	} {
		f.write("entity-alias/id/"+id, tt.sent)
		got := f.do(engines.Read, "entity-alias/id/"+id, nil)["custom_metadata"]
		m, isMap := got.(map[string]string)
		want, wantMap := tt.want.(map[string]string)
		if isMap != wantMap || len(m) != len(want) || m["a"] != want["a"] {
			t.Errorf("after %v: %#v, want %#v", tt.sent, got, tt.want)
		}
	}
}
