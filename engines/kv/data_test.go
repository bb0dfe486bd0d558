package kv_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// meta is what describes a version of a secret.
func meta(n int, created, deletion string, destroyed bool) string {
	return fmt.Sprintf(`{"created_time":%q,"custom_metadata":null,"deletion_time":%q,"destroyed":%v,"version":%d}`,
		created, deletion, destroyed, n)
}

const (
	getHint = `404 warnings ["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate ` +
		`API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation."]`
	bareHint = `404 warnings ["Non-listing operations on the root of a K/V v2 mount are not supported."]`
	badSlash = `400 cannot write to a path ending in '/'`
	badCAS   = `400 check-and-set parameter did not match the current version`
	noCAS    = `400 error parsing check-and-set parameter`
	needCAS  = `400 check-and-set parameter required for this call`
)

func hint(command string) string { return strings.Replace(getHint, "kv get", "kv "+command, 1) }

func TestData(t *testing.T) {
	v1, v2 := meta(1, "T+0s", "", false), meta(2, "T+5s", "", false)
	run(t, "2", map[string][]step{
		"write and read": {
			{`GET data/a`, `404`},
			{`PUT data/a {"data":{"b":"x","a":1}}`, `200 ` + v1},
			{`GET data/a`, `200 {"data":{"a":1,"b":"x"},"metadata":` + v1 + `}`},
			{`wait 5s`, ``},
			{`PUT data/a {"data":{"c":true}}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":{"c":true},"metadata":` + v2 + `}`},
			{`GET data/a?version=1`, `200 {"data":{"a":1,"b":"x"},"metadata":` + v1 + `}`},
			{`GET data/a?version=2`, `200 {"data":{"c":true},"metadata":` + v2 + `}`},
			{`GET data/a?version=0`, `200 {"data":{"c":true},"metadata":` + v2 + `}`},
			{`GET data/a?version=-1`, `200 {"data":{"c":true},"metadata":` + v2 + `}`},
			{`GET data/a?version=`, `200 {"data":{"c":true},"metadata":` + v2 + `}`},
			{`GET data/a?version=3`, `404`},
			{`GET data/a?version=x`, `400 Field validation failed: error converting input for field "version": ` +
				`cannot parse '' as int: strconv.ParseInt: parsing "x": invalid syntax`},
		},
		"values are canonical JSON": {
			{`PUT data/a {"data":{"x":1.50,"y":12345678901234567890,"z":"<&>\u2028é\u0000","e":1e3,"f":1e21,"g":0.0000001,` +
				`"h":-0.0,"n":null,"l":[1,{"b":2,"a":1.0}],"w":123456789.123456789012}}`, `200 ` + v1},
			{`GET data/a`, `200 {"data":{"e":1000,"f":1e+21,"g":1e-7,"h":-0,"l":[1,{"a":1,"b":2}],"n":null,"w":123456789.123456789012,` +
				`"x":1.5,"y":12345678901234567890,"z":"\u003c\u0026\u003e\u2028é\u0000"},"metadata":` + v1 + `}`},
			{`wait 5s`, ``},
			{`PUT data/a {"data":{"x":1e400}}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":{"x":1e400},"metadata":` + v2 + `}`},
		},
		"no data, null data, empty data": {
			{`PUT data/a`, `400 no data provided`},
			{`PUT data/a {"options":{"cas":0}}`, `400 no data provided`},
			{`PUT data/a {"data":null}`, `200 ` + v1},
			{`GET data/a`, `200 {"data":null,"metadata":` + v1 + `}`},
			{`wait 5s`, ``},
			{`PUT data/a {"data":{}}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":{},"metadata":` + v2 + `}`},
		},
		"data that is no object": {
			{`PUT data/a {"data":1}`, `400 error converting input for field "data": '' expected a map, got 'string'`},
			{`PUT data/a {"data":["a=b"]}`, `400 error converting input for field "data": '[0]' expected a map, got 'string'`},
			{`PUT data/a {"data":{},"options":"cas=1"}`,
				`400 error converting input for field "options": '' expected a map, got 'string'`},
			{`PUT data/a {"data":[{"a":1},{"b":2}]}`, `200 ` + v1},
			{`GET data/a`, `200 {"data":{"a":1,"b":2},"metadata":` + v1 + `}`},
		},
		"cas": {
			{`PUT data/a {"data":{},"options":{"cas":1}}`, badCAS},
			{`PUT data/a {"data":{},"options":{"cas":0}}`, `200 ` + v1},
			{`PUT data/a {"data":{},"options":{"cas":0}}`, badCAS},
			{`PUT data/a {"data":{},"options":{"cas":-1}}`, badCAS},
			{`PUT data/a {"data":{},"options":{"cas":null}}`, badCAS},
			{`PUT data/a {"data":{},"options":{"cas":""}}`, badCAS},
			{`PUT data/a {"data":{},"options":{"cas":"x"}}`, noCAS},
			{`PUT data/a {"data":{},"options":{"cas":1.0}}`, noCAS},
			{`PUT data/a {"data":{},"options":{"cas":[1]}}`, noCAS},
			{`PUT data/a {"data":{},"options":{"cas":99999999999999999999}}`, noCAS},
			{`wait 5s`, ``},
			{`PUT data/a {"data":{},"options":{"cas":"1"}}`, `200 ` + v2},
		},
		"what has no use is named where there is an answer": {
			{`PUT data/a {"data":{},"foo":1,"version":7}`,
				`200 warnings ["Endpoint ignored these unrecognized parameters: [foo]"] ` + v1},
			{`DELETE data/a {"foo":1}`, `204`},
			{`GET data/a?foo=1`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "T+0s", false) + `}`},
		},
		"delete the latest": {
			{`DELETE data/a`, `204`},
			{`PUT data/a {"data":{"a":1}}`, `200 ` + v1},
			{`wait 5s`, ``},
			{`DELETE data/a`, `204`},
			{`GET data/a`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "T+5s", false) + `}`},
			{`GET data/a?version=1`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "T+5s", false) + `}`},
			{`wait 5s`, ``},
			{`DELETE data/a`, `204`},
			{`GET data/a`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "T+5s", false) + `}`},
		},
		"paths outside the API": {
			{`GET `, getHint},
			{`GET x`, getHint},
			{`GET x/y`, getHint},
			{`PUT x/y {"a":1}`, hint("put")},
			{`PATCH x/y {"a":1}`, hint("patch")},
			{`DELETE x/y`, hint("delete")},
			{`LIST x/y`, hint("list")},
			{`LIST config/`, hint("list")},
			{`GET config/x`, getHint},
			{`GET data/`, getHint},
			{`GET data/a/`, getHint},
			{`DELETE data/a/`, hint("delete")},
			{`LIST data/`, hint("list")},
			{`LIST data/a/`, hint("list")},
			{`PUT data/ {"data":{}}`, badSlash},
			{`PUT data/a/ {"data":{}}`, badSlash},
			{`PATCH data/ {"data":{}}`, badSlash},
			{`GET data`, bareHint},
			{`PUT data {"data":{}}`, bareHint},
			{`PATCH metadata {}`, bareHint},
			{`DELETE destroy`, bareHint},
			{`GET subkeys`, getHint},
			{`GET subkeys/`, `404`},
			{`DELETE config`, `405`},
			{`GET undelete/a`, `405`},
			{`LIST destroy/a`, `405`},
		},
		"odd names": {
			{`PUT data/a..b/.x/*+ {"data":{}}`, `200 ` + v1},
			{`LIST metadata/a..b/`, `200 {"keys":[".x/"]}`},
			{`LIST metadata/a..b/.x`, `200 {"keys":["*+"]}`},
			{`PUT data/é/ü#% {"data":{"é":1}}`, `200 ` + v1},
			{`GET data/é/ü#%`, `200 {"data":{"é":1},"metadata":` + v1 + `}`},
			{`LIST metadata/`, `200 {"keys":["a..b/","é/"]}`},
			{"PUT data/a\xff {\"data\":{}}", "500 1 error occurred:\n\t* failed to write: key contains invalid UTF-8 characters\n\n"},
			{"PUT data/" + strings.Repeat("l", 40<<10) + ` {"data":{}}`, `400 the path is too long or malformed`},
			{"GET data/" + strings.Repeat("l", 40<<10), `404`},
		},
	})
}

// A secret and a folder may have the same name, and versions of one do not meet those of the other.
func TestNamesDoNotMeet(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	big := strings.Repeat("x", 20<<10)
	for _, name := range []string{"a", "a/1", "1/a", "config", "a/1/1"} {
		for n := range 3 {
			v.do(t, fmt.Sprintf(`PUT data/%s {"data":{"v":"%s %d %s"}}`, name, name, n+1, big))
		}
	}
	for _, name := range []string{"a", "a/1", "1/a", "config", "a/1/1"} {
		for n := range 3 {
			want := fmt.Sprintf(`200 {"data":{"v":"%s %d %s"},`, name, n+1, big)
			if got := v.do(t, fmt.Sprintf("GET data/%s?version=%d", name, n+1)); !strings.HasPrefix(got, want) {
				t.Errorf("version %d of %s: %.80s", n+1, name, got)
			}
		}
	}
}

// A read of the latest version costs one Get, and a write of a small secret changes one key; larger values, and
// a longer history, are kept apart so that the record stays small.
func TestCosts(t *testing.T) {
	base := memory.New()
	s := storagetest.NewFaulty(base)
	v := newServer(t, s, "2")
	count := func(call storagetest.Call, line string) int {
		before := s.Calls(call)
		v.do(t, line)
		return s.Calls(call) - before
	}
	middle, big := strings.Repeat("x", 1500), strings.Repeat("x", 20<<10)
	for _, test := range []struct {
		line        string
		gets, apply int
		keys        []string
	}{
		{`PUT data/a {"data":{"v":1}}`, 3, 1, []string{"entry/a"}}, // exists, configuration, record
		{`GET data/a`, 1, 0, []string{"entry/a"}},
		{`PUT data/a {"data":{"v":2}}`, 2, 1, []string{"entry/a"}},
		{`GET data/a?version=1`, 1, 0, []string{"entry/a"}},
		{`PUT data/a {"data":{"v":"` + middle + `"}}`, 2, 1, []string{"entry/a"}},
		{`PUT data/a {"data":{"v":"` + middle + `"}}`, 2, 1, []string{"entry/a"}},
		{`PUT data/a {"data":{"v":5}}`, 2, 1, []string{"entry/a", "version/3/a"}},
		{`GET data/a?version=3`, 2, 0, []string{"entry/a", "version/3/a"}},
		{`GET data/a?version=1`, 1, 0, []string{"entry/a", "version/3/a"}},
		{`PUT data/a {"data":{"v":"` + big + `"}}`, 2, 1, []string{"entry/a", "version/3/a", "version/6/a"}},
		{`GET data/a`, 3, 0, []string{"entry/a", "version/3/a", "version/6/a"}},
		{`PUT data/a {"data":{"v":7}}`, 2, 1, []string{"entry/a", "version/3/a", "version/6/a"}},
		{`GET data/a`, 1, 0, []string{"entry/a", "version/3/a", "version/6/a"}},
		{`PUT destroy/a {"versions":[1,6,7]}`, 1, 1, []string{"entry/a", "version/3/a"}},
		{`DELETE metadata/a`, 1, 1, nil},
	} {
		gets, applies := s.Calls(storagetest.Get), count(storagetest.Apply, test.line)
		if gets = s.Calls(storagetest.Get) - gets; gets != test.gets || applies != test.apply {
			t.Errorf("%.40s: %d Gets and %d Applies, want %d and %d", test.line, gets, applies, test.gets, test.apply)
		}
		if diff := cmp.Diff(test.keys, contents(t, base)); diff != "" {
			t.Errorf("after %.40s: -want +got\n%s", test.line, diff)
		}
	}
}

// Who did what: the name of the token, its entity, and Vault's id of a client without one.
func TestAttribution(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	for _, test := range []struct {
		caller engines.Caller
		want   string
	}{
		{engines.Caller{DisplayName: "token", Policies: []string{"root"}},
			`{"actor":"token","operation":"create","client_id":"0DHqvq2D77kL2/JTPSZkTMJbkFVmUu0TzMi0jiXcFy8="}`},
		{engines.Caller{DisplayName: "token-ci", Policies: []string{"default", "p1"}},
			`{"actor":"token-ci","operation":"update","client_id":"tmjo+uDmY7m4LZiGz4tQcRdhypv5j6yreNmFmsXUtp0="}`},
		{engines.Caller{DisplayName: "userpass-bob", Policies: []string{"p1"}, EntityID: "b01732cd"},
			`{"actor":"userpass-bob","operation":"update","entity_id":"b01732cd","client_id":"b01732cd"}`},
	} {
		v.caller = &test.caller
		v.do(t, `PUT data/a {"data":{}}`)
		if got := v.do(t, `GET metadata/a`); !strings.Contains(got, `"last_updated_by":`+test.want) {
			t.Errorf("%s: %s", test.caller.DisplayName, got)
		}
	}
}

func TestExistenceIsThatOfTheMetadata(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	for _, test := range []struct {
		line   string
		create bool
	}{
		{`PUT metadata/a {}`, true},
		{`PUT data/a {"data":{}}`, false},
		{`PUT metadata/a {}`, false},
		{`PUT data/b {"data":{}}`, true},
		{`PUT data/b {"data":{}}`, false},
	} {
		if v.do(t, test.line); v.create != test.create {
			t.Errorf("%s: create = %v", test.line, v.create)
		}
	}
}

// A version that ends by itself is shown up to that moment.
func TestDeletionTimeIsWhenItIsGone(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	v.do(t, `PUT metadata/a {"delete_version_after":"10s"}`)
	v.do(t, `PUT data/a {"data":{"a":1}}`)
	for _, test := range []struct {
		after time.Duration
		want  string
	}{{10*time.Second - 1, "200"}, {10 * time.Second, "404"}} {
		v.now = epoch.Add(test.after)
		if got := v.do(t, `GET data/a`); got[:3] != test.want {
			t.Errorf("after %s: %s", test.after, got)
		}
	}
}
