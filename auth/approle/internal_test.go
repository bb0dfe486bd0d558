package approle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

func TestMetadataIsReadInAllItsForms(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                      {},
		`{"a":"b","c":"d"}`:     {"a": "b", "c": "d"},
		"a=b, c=d,":             {"a": "b", "c": "d"},
		"a=b=c":                 {"a": "b=c"},
		"eyJhIjoiYiJ9":          {"a": "b"},
		"null":                  nil,
		"nonsense":              nil,
		"=b":                    nil,
		`{"a": 1}`:              nil,
		`{"a": "b", "c": true}`: nil,
		// Nothing is changed or dropped without a word.
		`{"a":"1","A":"2"}`:      {"a": "1", "A": "2"},
		`{"a":"\ud83d\ude00\n"}`: {"a": "\U0001f600\n"},
		`{"a":"1","a":"2"}`:      nil,
		`{"a":"x=1","a":"y=2"}`:  nil,
		`{"a":"\ud800=1"}`:       nil,
		`{"a":"1","\u0061":"2"}`: nil,
		`{"a":"\ud800"}`:         nil,
		`{"\udc00":"a"}`:         nil,
		"a=1,a=2":                nil,
		"/w==":                   nil,
		"a=\xff":                 nil,
		`{"a":"1"}{"a":"2"}`:     nil,
	} {
		got, err := parseMetadata(text)
		if (err != nil) != (want == nil) {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	for _, seed := range []string{"", `{"a":"b"}`, "a=b,c=d", "eyJhIjoiYiJ9", "null", "{", "=,="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMetadata(text)
		if err != nil {
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseMetadata(string(b))
		if err != nil || len(again) != len(m) {
			t.Errorf("%q reads as %v, which reads as %v, %v", text, m, again, err)
		}
	})
}

func FuzzDecodeSecretID(f *testing.F) {
	b, err := json.Marshal(&secretID{Accessor: "a", NumUses: 3, Created: time.Unix(1, 0), Expires: time.Unix(2, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{"))
	f.Add([]byte("null"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if s, err := decodeSecretID(b); err == nil {
			s.expired(time.Unix(0, 0))
			s.show()
		}
	})
}

func TestNamesOfIDsDoNotRunTogether(t *testing.T) {
	e := &engine{key: make([]byte, keySize)}
	seen := map[string]bool{}
	for _, n := range []string{
		e.name(ofSecretID, "a", "bc"), e.name(ofSecretID, "ab", "c"), e.name(ofRoleID, "a", "bc"), e.name(ofSecretID, "", "abc"),
	} {
		if seen[n] {
			t.Errorf("%s stands for two ids", n)
		}
		seen[n] = true
	}
}

func TestNetworksWithinOthers(t *testing.T) {
	for _, tc := range []struct {
		outer, inner []string
		ok           bool
	}{
		{nil, []string{"0.0.0.0/0"}, true},
		{[]string{"10.0.0.0/8"}, nil, true},
		{[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16", "10.2.3.4/32"}, true},
		{[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16", "11.0.0.0/16"}, false},
		{[]string{"10.1.0.0/16"}, []string{"10.0.0.0/8"}, false},
		{[]string{"10.0.0.0/8", "fd00::/8"}, []string{"fd01::/16"}, true},
		{[]string{"10.0.0.0/8"}, []string{"::/0"}, false},
	} {
		if err := within(tc.outer, tc.inner); (err == nil) != tc.ok {
			t.Errorf("%v within %v: %v", tc.inner, tc.outer, err)
		}
	}
}

func FuzzDecodeRole(f *testing.F) {
	b, err := json.Marshal(&role{Folder: "f", RoleID: "r", BindSecretID: true, Secret: secretSettings{CIDRs: []string{"10.0.0.0/8"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("null"))
	f.Add([]byte(`{"secret": {"cidrs": ["x"]}}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r, err := decodeRole("r", b)
		if err != nil {
			return
		}
		r.Token.Show(map[string]any{})
		// A network that cannot be read keeps everybody out.
		_ = r.admit(&engines.Request{})
	})
}
