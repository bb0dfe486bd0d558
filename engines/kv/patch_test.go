package kv_test

import (
	"context"
	"strings"
	"testing"

	"coffer/storage"
	"coffer/storage/memory"
)

func TestPatch(t *testing.T) {
	v1, v2, v3 := meta(1, "T+0s", "", false), meta(2, "T+0s", "", false), meta(3, "T+0s", "", false)
	run(t, "2", map[string][]step{
		"merge": {
			{`PUT data/a {"data":{"x":1,"n":{"a":1,"b":[1,2],"c":{"d":"e","f":null}},"s":"t"}}`, `200 ` + v1},
			{`PATCH data/a {"data":{"x":null,"n":{"c":{"f":5},"z":{"q":null,"w":1.50}}}}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":{"n":{"a":1,"b":[1,2],"c":{"d":"e","f":5},"z":{"w":1.5}},"s":"t"},"metadata":` + v2 + `}`},
			{`PATCH data/a {"data":{},"foo":1}`,
				`200 warnings ["Endpoint ignored these unrecognized parameters: [foo]"] ` + v3},
			{`GET data/a`, `200 {"data":{"n":{"a":1,"b":[1,2],"c":{"d":"e","f":5},"z":{"w":1.5}},"s":"t"},"metadata":` + v3 + `}`},
		},
		"lists": {
			{`PUT data/a {"data":{"o":{"x":1}}}`, `200 ` + v1},
			{`PATCH data/a {"data":{"o":[{"q":null},null],"p":[{"q":null},null,[{"z":null}]]}}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":{"o":[{"q":null},null],"p":[{},null,[{}]]},"metadata":` + v2 + `}`},
			{`PATCH data/a {"data":{"o":{"x":null}}}`, `200 ` + v3},
			{`GET data/a`, `200 {"data":{"o":{},"p":[{},null,[{}]]},"metadata":` + v3 + `}`},
		},
		"big numbers stay": {
			{`PUT data/a {"data":{"y":12345678901234567890}}`, `200 ` + v1},
			{`PATCH data/a {"data":{"z":1}}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":{"y":12345678901234567890,"z":1},"metadata":` + v2 + `}`},
		},
		"what cannot be patched": {
			{`PATCH data/a {"data":{"x":1}}`, `404`},
			{`PATCH data/a {"data":{"x":1},"options":{"cas":"x"}}`, `404`},
			{`PATCH data/a {}`, `400 no data provided`},
			{`PATCH data/a {"data":"x"}`,
				`400 Field validation failed: error converting input for field "data": '' expected a map, got 'string'`},
			{`PUT data/a {"data":{"x":1}}`, `200 ` + v1},
			{`DELETE data/a`, `204`},
			{`PATCH data/a {"data":{},"options":{"cas":9}}`, badCAS},
			{`PATCH data/a {"data":{}}`, `404 ` + meta(1, "T+0s", "T+0s", false)},
			{`PUT destroy/a {"versions":[1]}`, `204`},
			{`PATCH data/a {"data":{}}`, `404 ` + meta(1, "T+0s", "T+0s", true)},
		},
		"null": {
			{`PUT data/a {"data":{"x":1}}`, `200 ` + v1},
			{`PATCH data/a {"data":null}`, `200 ` + v2},
			{`GET data/a`, `200 {"data":null,"metadata":` + v2 + `}`},
			{`PATCH data/a {"data":{"x":1}}`, "500 1 error occurred:\n\t* resource does not exist\n\n"},
			{`PATCH data/a {"data":null}`, "500 1 error occurred:\n\t* resource does not exist\n\n"},
		},
		"cas": {
			{`PUT data/a {"data":{"x":1}}`, `200 ` + v1},
			{`PATCH data/a {"data":{"x":1},"options":{"cas":0}}`, badCAS},
			{`PATCH data/a {"data":{"x":1},"options":{"cas":"x"}}`, noCAS},
			{`PATCH data/a {"data":{"x":1},"options":{"cas":1}}`, `200 ` + v2},
		},
	})
}

func TestSubkeys(t *testing.T) {
	v1, v2 := meta(1, "T+0s", "", false), meta(2, "T+0s", "", false)
	run(t, "2", map[string][]step{
		"depth": {
			{`PUT data/a {"data":{"e":{},"l":[{"x":1}],"s":"x","n":null,"d":{"d":{"d":{}}}}}`, `200 ` + v1},
			{`GET subkeys/a`, `200 {"metadata":` + v1 + `,"subkeys":{"d":{"d":{"d":null}},"e":null,"l":null,"n":null,"s":null}}`},
			{`GET subkeys/a?depth=0`,
				`200 {"metadata":` + v1 + `,"subkeys":{"d":{"d":{"d":null}},"e":null,"l":null,"n":null,"s":null}}`},
			{`GET subkeys/a?depth=1`, `200 {"metadata":` + v1 + `,"subkeys":{"d":null,"e":null,"l":null,"n":null,"s":null}}`},
			{`GET subkeys/a?depth=2`, `200 {"metadata":` + v1 + `,"subkeys":{"d":{"d":null},"e":null,"l":null,"n":null,"s":null}}`},
			{`GET subkeys/a?depth=-5`, `200 {"metadata":` + v1 + `,"subkeys":{"d":null,"e":null,"l":null,"n":null,"s":null}}`},
			{`GET subkeys/a?depth=x`, `400 Field validation failed: error converting input for field "depth": cannot parse '' ` +
				`as int: strconv.ParseInt: parsing "x": invalid syntax`},
		},
		"versions": {
			{`GET subkeys/a`, `404`},
			{`PUT data/a {"data":{"x":1}}`, `200 ` + v1},
			{`PUT data/a {"data":null}`, `200 ` + v2},
			{`GET subkeys/a`, `200 {"metadata":` + v2 + `,"subkeys":null}`},
			{`GET subkeys/a?version=1`, `200 {"metadata":` + v1 + `,"subkeys":{"x":null}}`},
			{`GET subkeys/a?version=3`, `404`},
			{`DELETE data/a`, `204`},
			{`GET subkeys/a`, `404 {"metadata":` + meta(2, "T+0s", "T+0s", false) + `,"subkeys":null}`},
		},
	})
}

// purse is a Budget that counts.
type purse struct{ spent int }

// Spend implements storage.Budget.
func (p *purse) Spend(_ context.Context, n int) error {
	p.spent += n
	return nil
}

// TestPatchPaysForWhatItDecodes: a value of many parts is many times as large in memory as it is stored.
func TestPatchPaysForWhatItDecodes(t *testing.T) {
	s := newServer(t, memory.New(), "2")
	const numbers = 100_000
	s.do(t, `PUT data/a {"data":{"k":[`+strings.Repeat("1,", numbers)+`1]}}`)
	var p purse
	ctx := context.WithValue(t.Context(), storage.BudgetKey{}, storage.Budget(&p))
	if _, err := s.request(ctx, "PATCH", "data/a", map[string]any{"data": map[string]any{"z": "1"}}); err != nil {
		t.Fatal(err)
	}
	if p.spent < 20*numbers {
		t.Errorf("paid for %d bytes", p.spent)
	}
	p.spent = 0
	if _, err := s.request(ctx, "GET", "subkeys/a", nil); err != nil {
		t.Fatal(err)
	}
	if p.spent < 2*numbers || p.spent > 3*numbers {
		t.Errorf("subkeys paid for %d bytes", p.spent)
	}
}
