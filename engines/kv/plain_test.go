package kv_test

import (
	"errors"
	"testing"
	"time"

	"coffer/engines"
	"coffer/storage/memory"
)

func TestVersion1(t *testing.T) {
	run(t, "1", map[string][]step{
		"a secret's life": {
			{`GET a`, `404`},
			{`PUT a {"b":1,"a":"<x>"}`, `204`},
			{`GET a`, `200 lease 2764800 {"a":"\u003cx\u003e","b":1}`},
			{`PUT a {"c":null}`, `204`},
			{`GET a`, `200 lease 2764800 {"c":null}`},
			{`DELETE a`, `204`},
			{`DELETE a`, `204`},
			{`GET a`, `404`},
			{`PATCH a {"a":1}`, `405`},
		},
		"numbers are kept as sent": {
			{`PUT a {"a":1.50,"b":1e3,"c":12345678901234567890,"d":{"z":1.0,"y":[2.50]}}`, `204`},
			{`GET a`, `200 lease 2764800 {"a":1.50,"b":1e3,"c":12345678901234567890,"d":{"y":[2.50],"z":1.0}}`},
		},
		"parameters are data, whatever they are called": {
			{`PUT a {"path":"x","data":{"a":1}}`, `204`},
			{`GET a?version=1`, `200 lease 2764800 {"data":{"a":1},"path":"x"}`},
		},
		"lease from ttl": {
			{`PUT a {"ttl":"1h"}`, `204`},
			{`GET a`, `200 lease 3600 {"ttl":"1h"}`},
			{`PUT a {"ttl":60,"lease":"2h"}`, `204`},
			{`GET a`, `200 lease 60 {"lease":"2h","ttl":60}`},
			{`PUT a {"lease":"2h"}`, `204`},
			{`GET a`, `200 lease 7200 {"lease":"2h"}`},
			{`PUT a {"ttl":"1d"}`, `204`},
			{`GET a`, `200 lease 86400 {"ttl":"1d"}`},
			{`PUT a {"ttl":-5}`, `204`},
			{`GET a`, `200 lease -5 {"ttl":-5}`},
			{`PUT a {"ttl":null}`, `204`},
			{`GET a`, `200 lease 0 {"ttl":null}`},
			{`PUT a {"ttl":""}`, `204`},
			{`GET a`, `200 lease 0 {"ttl":""}`},
			{`PUT a {"ttl":"soon"}`, `204`},
			{`GET a`, `200 lease 2764800 {"ttl":"soon"}`},
			{`PUT a {"ttl":1.5}`, `204`},
			{`GET a`, `200 lease 2764800 {"ttl":1.5}`},
			{`PUT a {"ttl":[1],"lease":"1h"}`, `204`},
			{`GET a`, `200 lease 2764800 {"lease":"1h","ttl":[1]}`},
		},
		"empty writes": {
			{`PUT a`, `400 missing data fields`},
			{`PUT a {}`, `400 missing data fields`},
			{`GET a`, `404`},
		},
		"the mount itself and folders": {
			{`GET `, `404`},
			{`DELETE `, `204`},
			{`PUT  {"a":1}`, `400 missing path`},
			{`PUT a/ {"a":1}`, `400 cannot write to a path ending in '/'`},
			{`PUT a/b {"a":1}`, `204`},
			{`GET a/`, `404`},
			{`DELETE a/`, `204`},
			{`GET a/b`, `200 lease 2764800 {"a":1}`},
		},
		"lists": {
			{`LIST `, `404`},
			{`PUT a {"a":1}`, `204`},
			{`PUT a/b {"a":1}`, `204`},
			{`PUT c/é/d {"a":1}`, `204`},
			{`LIST `, `200 {"keys":["a","a/","c/"]}`},
			{`LIST a/`, `200 {"keys":["b"]}`},
			{`LIST a`, `200 {"keys":["b"]}`},
			{`LIST c/é/`, `200 {"keys":["d"]}`},
			{`LIST ?limit=1`, `200 {"keys":["a"]}`},
			{`LIST ?after=a&limit=1`, `200 {"keys":["a/"]}`},
			{`LIST ?after=z`, `404`},
			{`LIST b/`, `404`},
			{`DELETE c/é/d`, `204`},
			{`LIST c/`, `404`},
			{`LIST `, `200 {"keys":["a","a/"]}`},
		},
		"names that Vault refuses": {
			{`PUT a..b {"a":1}`, "500 1 error occurred:\n\t* internal error\n\n"},
			{`GET a..b`, "400 1 error occurred:\n\t* read failed: relative paths not supported\n\n"},
			{`DELETE a..b`, "400 1 error occurred:\n\t* relative paths not supported\n\n"},
			{`LIST a..b`, "400 1 error occurred:\n\t* relative paths not supported\n\n"},
			{"PUT a\xff {\"a\":1}", "500 1 error occurred:\n\t* failed to write: key contains invalid UTF-8 characters\n\n"},
			{"GET a\xff", "404"},
		},
	})
}

func TestVersion1TellsCreateFromUpdate(t *testing.T) {
	v := newServer(t, memory.New(), "")
	for _, want := range []bool{true, false} {
		if v.do(t, `PUT a {"a":1}`); v.create != want {
			t.Errorf("create = %v, want %v", v.create, want)
		}
	}
}

func TestUnknownVersion(t *testing.T) {
	_, err := mount(t.Context(), memory.New(), "3", time.Now)
	if !errors.Is(err, engines.ErrInvalid) || err.Error() != `nil backend of type "kv" returned from factory` {
		t.Errorf("error = %v", err)
	}
}
