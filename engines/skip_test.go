package engines_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"coffer/engines"
)

func TestSkipJSON(t *testing.T) {
	for text, want := range map[string]string{
		`1,2`: `1`, `1`: `1`, `"a\"]",2`: `"a\"]"`, `[[1,{"]":2}],3],4`: `[[1,{"]":2}],3]`, `null}`: `null`,
		`{"a":{"b":[]}}]`: `{"a":{"b":[]}}`, `"cut`: `"cut`, `[1,`: `[1,`, `"`: `"`, ``: ``, `"a\`: `"a\`,
	} {
		value, rest := engines.SkipJSON([]byte(text))
		if string(value) != want || string(value)+string(rest) != text {
			t.Errorf("%s: %s and %s, want %s", text, value, rest, want)
		}
	}
}

func FuzzJSONMembers(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":[1,{"c":"}"}],"\"":"\\"}`, `{"a"`, `[1]`, `{"a":{"b":null}}`, `{"a":`, `{"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var compact bytes.Buffer
		valid := json.Compact(&compact, []byte(text)) == nil
		if !valid {
			compact.Reset()
			compact.WriteString(text) // only must not fail
		}
		var rebuilt []byte
		engines.JSONMembers(compact.Bytes(), func(name, value []byte) bool {
			rebuilt = append(append(append(append(rebuilt, ','), name...), ':'), value...)
			return true
		})
		if !valid || compact.Len() < 2 || compact.Bytes()[0] != '{' {
			return
		}
		want := compact.String()[1 : compact.Len()-1]
		if len(rebuilt) > 0 {
			rebuilt = rebuilt[1:]
		}
		if string(rebuilt) != want {
			t.Errorf("the members of %s are %s", &compact, rebuilt)
		}
	})
}
