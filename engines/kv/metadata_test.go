package kv_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"coffer/storage/memory"
)

const (
	byRoot    = `"client_id":"0DHqvq2D77kL2/JTPSZkTMJbkFVmUu0TzMi0jiXcFy8="}`
	created   = `{"actor":"root","operation":"create",` + byRoot
	updated   = `{"actor":"root","operation":"update",` + byRoot
	deleted   = `{"actor":"root","operation":"delete",` + byRoot
	undeleted = `{"actor":"root","operation":"undelete",` + byRoot
)

// past is one version in the history of a secret.
func past(n int, by, at, deletedBy, deletion string, destroyed bool) string {
	return fmt.Sprintf(`"%d":{"created_by":%s,"created_time":%q,"deleted_by":%s,"deletion_time":%q,"destroyed":%v}`,
		n, by, at, deletedBy, deletion, destroyed)
}

// about is the metadata of a secret without settings of its own.
func about(current, oldest int, updatedBy, updatedAt, versions string) string {
	return fmt.Sprintf(`200 {"cas_required":false,"created_time":"T+0s","current_version":%d,"custom_metadata":null,`+
		`"delete_version_after":"0s","last_updated_by":%s,"max_versions":0,"oldest_version":%d,"updated_time":%q,`+
		`"versions":{%s}}`, current, updatedBy, oldest, updatedAt, versions)
}

func TestVersions(t *testing.T) {
	two := []step{
		{`PUT data/a {"data":{"v":1}}`, `200 ` + meta(1, "T+0s", "", false)},
		{`wait 5s`, ``},
		{`PUT data/a {"data":{"v":2}}`, `200 ` + meta(2, "T+5s", "", false)},
		{`wait 5s`, ``},
	}
	first, second := past(1, created, "T+0s", "null", "", false), past(2, updated, "T+5s", "null", "", false)
	run(t, "2", map[string][]step{
		"history": append(two[:4:4], []step{
			{`GET metadata/a`, about(2, 0, updated, "T+5s", first+","+second)},
		}...),
		"delete the latest": append(two[:4:4], []step{
			{`DELETE data/a`, `204`},
			{`GET metadata/a`, about(2, 0, deleted, "T+5s", first+","+past(2, updated, "T+5s", deleted, "T+10s", false))},
		}...),
		"delete and undelete": append(two[:4:4], []step{
			{`PUT delete/a {"versions":[1,7]}`, `204`},
			{`GET metadata/a`, about(2, 0, updated, "T+5s", past(1, created, "T+0s", updated, "T+10s", false)+","+second)},
			{`GET data/a?version=1`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "T+10s", false) + `}`},
			{`GET data/a`, `200 {"data":{"v":2},"metadata":` + meta(2, "T+5s", "", false) + `}`},
			{`PUT undelete/a {"versions":"1,2,7"}`, `204`},
			{`GET metadata/a`, about(2, 0, undeleted, "T+5s", first+","+second)},
			{`GET data/a?version=1`, `200 {"data":{"v":1},"metadata":` + meta(1, "T+0s", "", false) + `}`},
			{`DELETE data/a`, `204`},
			{`PUT undelete/a {"versions":2}`, `204`},
			{`GET data/a`, `200 {"data":{"v":2},"metadata":` + meta(2, "T+5s", "", false) + `}`},
		}...),
		"destroy": append(two[:4:4], []step{
			{`PUT destroy/a {"versions":["1",1,77]}`, `204`},
			{`GET metadata/a`, about(2, 0, updated, "T+5s", past(1, created, "T+0s", "null", "", true)+","+second)},
			{`GET data/a?version=1`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "", true) + `}`},
			{`PUT undelete/a {"versions":[1]}`, `204`},
			{`PUT delete/a {"versions":[1]}`, `204`},
			{`GET data/a?version=1`, `404 {"data":null,"metadata":` + meta(1, "T+0s", "", true) + `}`},
			{`PUT destroy/a {"versions":[2]}`, `204`},
			{`GET data/a`, `404 {"data":null,"metadata":` + meta(2, "T+5s", "", true) + `}`},
			{`DELETE data/a`, `204`},
			{`GET data/a`, `404 {"data":null,"metadata":` + meta(2, "T+5s", "", true) + `}`},
			{`PUT data/a {"data":{"v":3}}`, `200 ` + meta(3, "T+10s", "", false)},
			{`GET data/a`, `200 {"data":{"v":3},"metadata":` + meta(3, "T+10s", "", false) + `}`},
		}...),
		"numbers of versions": {
			{`PUT delete/a`, `400 No version number provided`},
			{`PUT undelete/a {"versions":[]}`, `400 No version number provided`},
			{`PUT undelete/a {"versions":null}`, `400 No version number provided`},
			{`PUT undelete/a {"versions":""}`, `400 No version number provided`},
			{`PUT destroy/a {"versions":[]}`, `400 no version number provided`},
			{`PUT delete/a {"versions":["x"]}`, "400 Field validation failed: error converting input for field \"versions\": " +
				"1 error(s) decoding:\n\n* cannot parse '[0]' as int: strconv.ParseInt: parsing \"x\": invalid syntax"},
			{`PUT delete/a {"versions":[[1]]}`, "400 Field validation failed: error converting input for field \"versions\": " +
				"1 error(s) decoding:\n\n* '[0]' expected type 'int', got unconvertible type '[]interface {}', value: '[1]'"},
			{`PUT delete/a {"versions":[1]}`, `204`},
			{`PUT undelete/a {"versions":[0,-1]}`, `204`},
			{`PUT destroy/a {"versions":true}`, `204`},
			{`LIST metadata/`, `404`},
			{`PUT destroy/ {"versions":[1]}`, badSlash},
		},
	})
}

func TestMetadata(t *testing.T) {
	none := about(0, 0, "null", "T+0s", "")
	with := func(name, value string) string {
		before, after, _ := strings.Cut(none, `"`+name+`":`)
		_, after, _ = strings.Cut(after, `,"`)
		return before + `"` + name + `":` + value + `,"` + after
	}
	run(t, "2", map[string][]step{
		"metadata before data": {
			{`PUT metadata/a {}`, `204`},
			{`GET metadata/a`, none},
			{`GET metadata/a/`, none},
			{`GET data/a`, `404`},
			{`GET subkeys/a`, `404`},
			{`DELETE data/a`, `204`},
			{`PATCH data/a {"data":{}}`, `404`},
			{`PUT data/a {"data":{},"options":{"cas":0}}`, `200 ` + meta(1, "T+0s", "", false)},
			{`GET metadata/a`, about(1, 0, updated, "T+0s", past(1, updated, "T+0s", "null", "", false))},
		},
		"settings stay until they are named": {
			{`PUT metadata/a {"max_versions":3,"cas_required":true,"delete_version_after":"1h","custom_metadata":{"a":"b"}}`, `204`},
			{`PUT metadata/a {"foo":1}`, `204`},
			{`GET metadata/a`, strings.NewReplacer(`"cas_required":false`, `"cas_required":true`, `custom_metadata":null`,
				`custom_metadata":{"a":"b"}`, `"0s"`, `"1h0m0s"`, `"max_versions":0`, `"max_versions":3`).Replace(none)},
			{`PUT metadata/a {"max_versions":null,"cas_required":null,"delete_version_after":null,"custom_metadata":null}`, `204`},
			{`GET metadata/a`, with("delete_version_after", `"1h0m0s"`)},
		},
		"numbers out of range": {
			{`PUT metadata/a {"max_versions":-1}`, `204`},
			{`GET metadata/a`, with("max_versions", "4294967295")},
			{`PUT metadata/a {"max_versions":4294967296}`, `400 max_versions is out of range`},
			{`PUT metadata/a {"max_versions":9223372036854775807}`, `400 max_versions is out of range`},
			{`PUT config {"max_versions":4294967296}`, `400 max_versions is out of range`},
			{`PUT config {"delete_version_after":"9223372036"}`, `400 Field validation failed: error converting input for field ` +
				`"delete_version_after": duration is out of range`},
			{`PATCH metadata/a {"max_versions":-1}`, "500 1 error occurred:\n\t* json: cannot unmarshal number -1 into Go struct " +
				"field KeyMetadata.max_versions of type uint32\n\n"},
			{`PUT metadata/a {"delete_version_after":"-1s"}`,
				`400 error converting input for field "delete_version_after": cannot provide negative value '-1'`},
			{`PUT metadata/a {"cas_required":"x"}`, `400 error converting input for field "cas_required": ` +
				`cannot parse '' as bool: strconv.ParseBool: parsing "x": invalid syntax`},
			{`PATCH metadata/a {"delete_version_after":"zz"}`, `400 Field validation failed: error converting input for field ` +
				`"delete_version_after": time: invalid duration "zz"`},
		},
		"patch": {
			{`PATCH metadata/a {}`, `404`},
			{`PUT metadata/a {"custom_metadata":{"a":"1","b":"2"},"max_versions":4,"delete_version_after":"1h"}`, `204`},
			{`PATCH metadata/a {"custom_metadata":{"a":null,"c":"3"},"max_versions":null,"delete_version_after":null}`, `204`},
			{`GET metadata/a`, strings.Replace(with("custom_metadata", `{"b":"2","c":"3"}`), `"0s"`, `"1h0m0s"`, 1)},
			{`PATCH metadata/a {"custom_metadata":null,"delete_version_after":"0s"}`, `204`},
			{`GET metadata/a`, none},
			{`PATCH metadata/a {"custom_metadata":{"a":1}}`, "500 1 error occurred:\n\t* json: cannot unmarshal number into Go " +
				"struct field KeyMetadata.custom_metadata of type string\n\n"},
			{`PATCH metadata/a {"custom_metadata":{"":null}}`, `204`},
			{`PATCH metadata/a {"custom_metadata":{"a":""}}`, "400 1 error occurred:\n\t* custom_metadata validation failed: " +
				"length of value for key \"a\" is 0 but must be 0 < len(value) <= 512\n\n"},
		},
		"custom_metadata": {
			{`PUT metadata/a {"custom_metadata":{"n":1.50,"t":true,"s":"<"}}`, `204`},
			{`GET metadata/a`, with("custom_metadata", `{"n":"1.50","s":"\u003c","t":"1"}`)},
			{`PUT data/a {"data":{}}`, `200 {"created_time":"T+0s","custom_metadata":{"n":"1.50","s":"\u003c","t":"1"},` +
				`"deletion_time":"","destroyed":false,"version":1}`},
			{`GET data/a`, `200 {"data":{},"metadata":{"created_time":"T+0s","custom_metadata":{"n":"1.50","s":"\u003c","t":"1"},` +
				`"deletion_time":"","destroyed":false,"version":1}}`},
			{`PUT metadata/a {"custom_metadata":"x"}`,
				`400 error converting input for field "custom_metadata": '' expected a map, got 'string'`},
			{`PUT metadata/a {"custom_metadata":{"k":[1]}}`, `400 custom_metadata validation failed: '' expected type ` +
				`'string', got unconvertible type '[]interface {}', value: '[1]'`},
			{`PUT metadata/a {"custom_metadata":{"":"x","a\u0001":"y\u0002"}}`, "400 3 errors occurred:\n\t* custom_metadata " +
				"validation failed: length of key \"\" is 0 but must be 0 < len(key) <= 128\n\t* custom_metadata validation " +
				"failed: key \"a\\x01\" (a\x01) contains unprintable characters\n\t* custom_metadata validation failed: value " +
				"for key \"a\\x01\" contains unprintable characters\n\n"},
			{`PUT metadata/a {"custom_metadata":{"k":"` + strings.Repeat("v", 513) + `"}}`, "400 1 error occurred:\n\t* " +
				"custom_metadata validation failed: length of value for key \"k\" is 513 but must be 0 < len(value) <= 512\n\n"},
			{`PUT metadata/a ` + customKeys("k", 65), "400 1 error occurred:\n\t* custom_metadata validation failed: payload must " +
				"contain at most 64 keys, provided 65\n\n"},
			{`PUT metadata/a ` + customKeys("k", 64), `204`},
		},
		"delete": {
			{`DELETE metadata/a`, `204`},
			{`PUT data/a {"data":{}}`, `200 ` + meta(1, "T+0s", "", false)},
			{`PUT data/a {"data":{}}`, `200 ` + meta(2, "T+0s", "", false)},
			{`DELETE metadata/a`, `204`},
			{`GET metadata/a`, `404`},
			{`LIST metadata/`, `404`},
			{`GET data/a?version=1`, `404`},
			{`PUT data/a {"data":{}}`, `200 ` + meta(1, "T+0s", "", false)},
		},
		"lists": {
			{`PUT metadata/a {}`, `204`},
			{`PUT metadata/b/c {}`, `204`},
			{`PUT metadata/b/d {}`, `204`},
			{`LIST metadata/`, `200 {"keys":["a","b/"]}`},
			{`LIST metadata/b`, `200 {"keys":["c","d"]}`},
			{`LIST metadata/b/?limit=1`, `200 {"keys":["c"]}`},
			{`LIST metadata/b/?limit=-1&after=c`, `200 {"keys":["d"]}`},
			{`LIST metadata/b/?after=d`, `404`},
			{`DELETE metadata/b/c`, `204`},
			{`DELETE metadata/b/d`, `204`},
			{`LIST metadata/b`, `404`},
			{`LIST metadata/`, `200 {"keys":["a"]}`},
		},
	})
}

func customKeys(prefix string, n int) string {
	keys := map[string]string{}
	for i := range n {
		keys[fmt.Sprint(prefix, i)] = "x"
	}
	text, err := json.Marshal(map[string]any{"custom_metadata": keys})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Merging cannot make custom_metadata grow without end.
func TestMergedCustomMetadataIsBounded(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	v.do(t, `PUT metadata/a {}`)
	last := ""
	for i := range 20 {
		last = v.do(t, `PATCH metadata/a `+customKeys(fmt.Sprintf("p%d-", i), 64))
	}
	if !strings.Contains(last, "payload must contain at most 1024 keys, provided 1088") {
		t.Errorf("the last of 20: %s", last)
	}
}

func TestConfig(t *testing.T) {
	config := func(cas bool, after string, versions int) string {
		return fmt.Sprintf(`200 {"cas_required":%v,"delete_version_after":%q,"max_versions":%d}`, cas, after, versions)
	}
	run(t, "2", map[string][]step{
		"settings": {
			{`GET config`, config(false, "0s", 0)},
			{`PUT config {"max_versions":3,"cas_required":true,"delete_version_after":"1h","foo":1}`, `204`},
			{`GET config`, config(true, "1h0m0s", 3)},
			{`PUT config {}`, `204`},
			{`GET config`, config(true, "1h0m0s", 3)},
			{`PUT config {"max_versions":-3}`, `204`},
			{`GET config`, config(true, "1h0m0s", 4294967295)},
			{`PUT config {"cas_required":false,"max_versions":0,"delete_version_after":""}`, `204`},
			{`GET config`, config(false, "0s", 0)},
		},
		"delete_version_after": {
			{`PUT config {"delete_version_after":"-5s"}`, `204`},
			{`GET config`, config(false, "-1s", 0)},
			{`PUT config {"delete_version_after":"-0.5s"}`, `204`},
			{`GET config`, config(false, "0s", 0)},
			{`PUT config {"delete_version_after":90}`, `204`},
			{`GET config`, config(false, "1m30s", 0)},
			{`PUT config {"delete_version_after":"1500ms"}`, `204`},
			{`GET config`, config(false, "1s", 0)},
			{`PUT config {"delete_version_after":"2d"}`, `204`},
			{`GET config`, config(false, "48h0m0s", 0)},
			{`PUT config {"delete_version_after":"bogus"}`, `400 Field validation failed: error converting input for field ` +
				`"delete_version_after": time: invalid duration "bogus"`},
			{`PUT config {"delete_version_after":[]}`, `400 Field validation failed: error converting input for field ` +
				`"delete_version_after": could not parse duration from input`},
		},
		"cas_required": {
			{`PUT config {"cas_required":true}`, `204`},
			{`PUT data/a {"data":{}}`, needCAS},
			{`PUT data/a {"data":{},"options":{"cas":0}}`, `200 ` + meta(1, "T+0s", "", false)},
			{`PATCH data/a {"data":{}}`, needCAS},
			{`PUT metadata/a {"cas_required":false,"foo":1}`, `200 warnings ["\"cas_required\" set to false, but is mandated by ` +
				`backend config. This value will be ignored." "Endpoint ignored these unrecognized parameters: [foo]"]`},
			{`PUT data/a {"data":{}}`, needCAS},
			{`PUT config {"cas_required":false}`, `204`},
			{`PUT metadata/a {"cas_required":true}`, `204`},
			{`PUT data/a {"data":{}}`, needCAS},
		},
		"life of versions: the shorter of configuration and metadata": {
			{`PUT config {"delete_version_after":"1h"}`, `204`},
			{`PUT data/a {"data":{}}`, `200 ` + meta(1, "T+0s", "T+3600s", false)},
			{`PUT metadata/a {"delete_version_after":"30m"}`, `204`},
			{`PUT data/a {"data":{}}`, `200 ` + meta(2, "T+0s", "T+1800s", false)},
			{`PUT metadata/a {"delete_version_after":"2h"}`, `204`},
			{`PUT data/a {"data":{}}`, `200 ` + meta(3, "T+0s", "T+3600s", false)},
			{`PUT config {"delete_version_after":"-1s"}`, `204`},
			{`PUT data/a {"data":{}}`, `200 ` + meta(4, "T+0s", "", false)},
			{`PUT config {"delete_version_after":"0s"}`, `204`},
			{`PUT data/a {"data":{"v":5}}`, `200 ` + meta(5, "T+0s", "T+7200s", false)},
			{`wait 7200s`, ``},
			{`GET data/a`, `404 {"data":null,"metadata":` + meta(5, "T+0s", "T+7200s", false) + `}`},
			{`PUT metadata/a {"delete_version_after":"10s"}`, `204`},
			{`PUT undelete/a {"versions":[5]}`, `204`},
			{`GET data/a`, `200 {"data":{"v":5},"metadata":` + meta(5, "T+0s", "T+7210s", false) + `}`},
		},
	})
}

func TestMaxVersions(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	write := func(n int) {
		for range n {
			v.do(t, `PUT data/a {"data":{"x":"y"}}`)
		}
	}
	for _, test := range []struct {
		line           string
		writes         int
		oldest, latest int
		kept           string
	}{
		{``, 10, 0, 10, "1 10 2 3 4 5 6 7 8 9"},
		{``, 2, 3, 12, "10 11 12 3 4 5 6 7 8 9"},
		{`PUT config {"max_versions":3}`, 1, 11, 13, "11 12 13"},
		{`PUT metadata/a {"max_versions":5}`, 3, 12, 16, "12 13 14 15 16"},
		{`PUT metadata/a {"max_versions":2}`, 0, 12, 16, "12 13 14 15 16"},
		{`PUT metadata/a {"max_versions":0}`, 1, 15, 17, "15 16 17"},
		{`PUT config {"max_versions":1}`, 1, 18, 18, "18"},
		// The larger number counts, so what the mount promises is kept.
		{`PUT config {"max_versions":4}`, 4, 19, 22, "19 20 21 22"},
		{`PUT metadata/a {"max_versions":1}`, 1, 20, 23, "20 21 22 23"},
	} {
		if test.line != "" {
			v.do(t, test.line)
		}
		write(test.writes)
		var got struct {
			Oldest   int            `json:"oldest_version"`
			Current  int            `json:"current_version"`
			Versions map[string]any `json:"versions"`
		}
		text := v.do(t, `GET metadata/a`)
		if err := json.Unmarshal([]byte(text[4:]), &got); err != nil {
			t.Fatal(err)
		}
		if got.Oldest != test.oldest || got.Current != test.latest || len(got.Versions) != len(strings.Fields(test.kept)) {
			t.Errorf("after %q and %d writes: %s", test.line, test.writes, text)
		}
		for _, n := range strings.Fields(test.kept) {
			if got := v.do(t, `GET data/a?version=`+n); got[:3] != "200" {
				t.Errorf("after %q: version %s: %s", test.line, n, got)
			}
		}
		if data := contents(t, v.storage); len(data) > 1+len(got.Versions) {
			t.Errorf("after %q: keys %q", test.line, data)
		}
	}
}
