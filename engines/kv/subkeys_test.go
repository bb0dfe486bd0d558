package kv

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// skeleton is what subkeys answer, made from the decoded value.
func skeleton(object map[string]any, depth int) map[string]any {
	names := make(map[string]any, len(object))
	for name, value := range object {
		names[name] = nil
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 && depth != 1 {
			names[name] = skeleton(inner, max(depth-1, 0))
		}
	}
	return names
}

func FuzzSkeleton(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":{"c":{"d":[{"e":1}]},"f":{}},"g":"}\"{","<":null}`, `null`, `{"":{"":{"":0}}}`} {
		f.Add(seed, 0)
		f.Add(seed, 2)
	}
	f.Fuzz(func(t *testing.T, text string, depth int) {
		object, err := decodeObject([]byte(text))
		if err != nil || object == nil {
			return
		}
		stored, err := appendObject(nil, object)
		if err != nil {
			return
		}
		depth = max(depth, 0)
		want, err := appendObject(nil, skeleton(object, depth))
		if err != nil {
			t.Fatal(err)
		}
		if got, rest := appendSkeleton(nil, stored, depth); string(got) != string(want) || len(rest) > 0 {
			t.Errorf("%s at depth %d: %s, want %s", stored, depth, got, want)
		}
	})
}

// TestSubkeysMakeNothingOfTheValues: what they take does not grow with the number of values.
func TestSubkeysMakeNothingOfTheValues(t *testing.T) {
	text := []byte(`{"k":[` + strings.Repeat("1,", 400_000) + `1],"l":{"m":"x"}}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	names, _ := appendSkeleton(nil, text, 0)
	runtime.ReadMemStats(&after)
	if string(names) != `{"k":null,"l":{"m":null}}` {
		t.Errorf("%s", names)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 64<<10 {
		t.Errorf("the names of %d bytes took %d", len(text), took)
	}
}

// TestDecodedSize: a patch pays for the value that it decodes.
func TestDecodedSize(t *testing.T) {
	for name, text := range map[string]string{
		"numbers": `{"k":[` + strings.Repeat("1,", 100_000) + `1]}`,
		"objects": `{"k":[` + strings.Repeat(`{"":0},`, 50_000) + `0]}`,
		"members": func() string {
			var b strings.Builder
			for i := range 9000 {
				fmt.Fprintf(&b, `"%d":{"a":[],"b":%d},`, i, i)
			}
			return `{` + b.String() + `"k":0}`
		}(),
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		object, err := decodeObject([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		merged := merge(object, map[string]any{"z": json.Number("1")})
		if took, paid := int64(after.HeapAlloc)-int64(before.HeapAlloc), 4*int64(decodedSize([]byte(text))+len(text)); took > paid {
			t.Errorf("%s: %d bytes for %d paid", name, took, paid)
		}
		runtime.KeepAlive(merged)
	}
}
