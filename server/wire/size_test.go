package wire_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/wire"
)

// TestSizeIsEnough holds that an answer never turns out longer than it was said to become, and not much shorter where
// it is long.
func TestSizeIsEnough(t *testing.T) {
	hard := strings.Repeat("<\"\x01\u2028é", 4000)
	type row struct {
		Name  string            `json:"name"`
		Left  *string           `json:"left"`
		Time  time.Time         `json:"time"`
		Text  []byte            `json:"text"`
		Pairs map[string]string `json:"pairs"`
	}
	for name, resp := range map[string]*engines.Response{
		"none":         nil,
		"empty":        {},
		"text":         {Data: map[string]any{"a": hard, hard: 1, "n": json.Number("1e300"), "b": false, "nil": nil}},
		"lists":        {Data: map[string]any{"a": []string{hard, "x"}, "b": []any{hard, 1.5, []string(nil)}}},
		"small values": {Data: map[string]any{"a": make([]bool, 9000), "b": make([]any, 9000), "c": []int64{-1 << 63}}},
		"structs":      {Data: map[string]any{"a": []row{{Name: hard, Left: &hard, Text: []byte(hard), Pairs: map[string]string{hard: hard}}}}},
		"encoded":      {Encoded: json.RawMessage(`{"a":"` + strings.Repeat("x", 9000) + `"}`)},
		"flattened":    {Flatten: true, Data: map[string]any{"a": hard}},
		"warnings":     {Warnings: []string{hard, "x"}},
		"token": {Auth: &engines.Auth{Token: engines.NewToken("hvs.x"), Policies: []string{hard}, Metadata: map[string]string{hard: hard},
			TokenPolicies: []string{"a"}, LeaseDuration: time.Hour}},
		"wrapped": {Wrap: &engines.WrapInfo{Token: engines.NewToken("hvs.x"), TTL: time.Hour, CreationPath: "a/b"}},
	} {
		var b bytes.Buffer
		if err := wire.Append(&b, "0d6ae7b4-8a0b-4c3e-9d5c-3c9d5e0f1a2b", "kv", resp); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b.Bytes()) {
			t.Errorf("%s: no JSON", name)
		}
		said := wire.Size(resp)
		if said < b.Len() {
			t.Errorf("%s: said %d, took %d", name, said, b.Len())
		}
		if name != "small values" && said > 2*b.Len()+4096 {
			t.Errorf("%s: said %d for %d", name, said, b.Len())
		}
	}
}
