package http

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// render of an answer with the usual headers and the given body.
func rendered(t *testing.T, vars *variables, rules stepRules, status int, header http.Header, body string) string {
	t.Helper()
	resp := &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
	r := &runner{vars: vars}
	got, err := r.render(resp, []byte(body), &rules)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func usualHeader() http.Header {
	h := http.Header{}
	for _, u := range usual {
		if u.value != "" {
			h.Set(u.name, u.value)
		}
	}
	return h
}

func TestRenderHeaders(t *testing.T) {
	if got := rendered(t, newVariables(), stepRules{}, 204, usualHeader(), ""); got != "204" {
		t.Errorf("usual headers: %q", got)
	}
	got := rendered(t, newVariables(), stepRules{}, 307, http.Header{"Location": {"http://127.0.0.1:8200/x"}}, "moved\n")
	want := "307\nCache-Control: (none)\nContent-Type: (none)\nLocation: http://<host:port>/x\n" +
		"Strict-Transport-Security: (none)\n\nmoved"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unusual headers (-want +got):\n%s", diff)
	}
}

func TestNormalise(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"uuid":                 {`{"a":"x 8b6b0cd4-6a44-8a2c-1d5b-0a3a5c0d3c11 y"}`, `{"a": "x <uuid> y"}`},
		"tokens":               {`{"a":"hvs.CAESIJbWnO8hSWzL0Vq0W1d2"}`, `{"a": "<service token>"}`},
		"batch tokens":         {`{"a":"hvb.AAAAAQIJbWnO8hSWzL0Vq0W1d2"}`, `{"a": "<batch token>"}`},
		"mount accessor":       {`{"accessor":"auth_token_0a1b2c3d"}`, `{"accessor": "<auth_token accessor>"}`},
		"token accessor":       {`{"k":"8609694aBdlfQmBCpQMuNPwm"}`, `{"k": "<accessor>"}`},
		"a word is no secret":  {`{"k":"metadata"}`, `{"k": "metadata"}`},
		"an empty accessor":    {`{"accessor":""}`, `{"accessor": ""}`},
		"time":                 {`{"a":"2026-01-02T03:04:05.123456789Z"}`, `{"a": "<time>"}`},
		"time in seconds":      {`{"a":"2026-01-02T03:04:05Z"}`, `{"a": "<time in seconds>"}`},
		"the zero time":        {`{"a":"0001-01-01T00:00:00Z"}`, `{"a": "0001-01-01T00:00:00Z"}`},
		"unix time":            {`{"a":1767322000}`, `{"a": "<unix time>"}`},
		"a limit is no time":   {`{"max_operations":3865470566}`, `{"max_operations": 3865470566}`},
		"ticking":              {`{"ttl":3597,"lease_duration":28}`, `{"ttl": 3600,"lease_duration": 30}`},
		"ticking limit":        {`["effective max_ttl of \"767h59m58s\"","effective max_ttl of \"9m59s\""]`, `["effective max_ttl of \"768h\"","effective max_ttl of \"10m\""]`},
		"limit as it was":      {`["effective max_ttl of \"767h\""]`, `["effective max_ttl of \"767h\""]`},
		"ticked too far":       {`{"ttl":3570}`, `{"ttl": 3570}`},
		"other numbers":        {`{"n":3597,"m":1.50,"e":1E3}`, `{"n": 3597,"m": 1.50,"e": 1E3}`},
		"escapes stay":         {`{"a":"\u003cb\u003e"}`, `{"a": "\u003cb\u003e"}`},
		"version":              {`{"version":"1.21.2"}`, `{"version": "<version>"}`},
		"another version":      {`{"version":"2"}`, `{"version": "2"}`},
		"key":                  {`{"keys":["` + strings.Repeat("0a", 33) + `"]}`, `{"keys": ["<33 bytes in hex>"]}`},
		"key with a slash":     {`{"keys":["IvHA2zoOEfjLmIN+L8k/AAAAbbbbCCCCddddEEEE1234"]}`, `{"keys": ["<33 bytes in base64>"]}`},
		"lease":                {`{"id":"db/creds/app/AbCdefghijklmnopqrstuv12"}`, `{"id": "db/creds/app/<lease id>"}`},
		"lease in a text":      {`{"a":"no db/app/AbCdefghijklmnopqrstuv12"}`, `{"a": "no db/app/<lease id>"}`},
		"a sum is exact":       {`{"sum":"` + strings.Repeat("0a", 32) + `"}`, `{"sum": "` + strings.Repeat("0a", 32) + `"}`},
		"order of keys":        {`{"b":1,"a":2}`, `{"b": 1,"a": 2}`},
		"repeats are sorted":   {`{"b":1,"a":2,"data":{"a":0,"b":0}}`, `{"a": 2,"b": 1,"data": {"a": 0,"b": 0}}`},
		"captured values":      {`{"a":"x my-long-name"}`, `{"a": "x ${mine}"}`},
		"captured as a key":    {`{"my-long-name":1}`, `{"${mine}": 1}`},
		"accessors sort marks": {`{"list":["zz","8609694aBdlfQmBCpQMuNPwm"]}`, `{"list": ["<accessor>","zz"]}`},
		"ignored":              {`{"ignore":{"deep":1}}`, `{"ignore": "<ignored>"}`},
	}
	rules := stepRules{ignore: []jsonPath{{"ignore"}}, sort: []jsonPath{{"list"}}}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			vars := newVariables()
			vars.set("mine", "my-long-name")
			vars.set("short", "a")
			got := rendered(t, vars, rules, 200, usualHeader(), tc.body)
			// The table has no line breaks.
			got = strings.NewReplacer("\n", "", "  ", "").Replace(strings.TrimPrefix(got, "200"))
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestCaptureOfWhatIsNotThere(t *testing.T) {
	r := &runner{vars: newVariables()}
	rules := &stepRules{captures: []capture{{"t", jsonPath{"auth", "client_token"}}}}
	for _, body := range []string{"", `{"auth":null}`} {
		if got, err := r.render(&http.Response{StatusCode: http.StatusOK, Header: usualHeader()}, []byte(body), rules); err == nil {
			t.Errorf("render(%q) = %q, want an error", body, got)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"b",null,{"c":true}]}`, `[]`, `"x"`, `{"a":1}{`, `{"a":1,"a":2}`, ` 1.50 `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := parseTree(data)
		if err != nil {
			return
		}
		again, err := parseTree([]byte(tree.String()))
		if err != nil || again.String() != tree.String() {
			t.Errorf("%q became %q, then %v, %v", data, tree, again, err)
		}
		newVariables().normalise(tree, "")
		if _, err := parseTree([]byte(tree.String())); err != nil {
			t.Errorf("normalised %q is no JSON: %q", data, tree)
		}
	})
}
