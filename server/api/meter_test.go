package api

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestMeterBoundsWhatDecodingTakes holds the costs that the meter charges against what the allocator gives.
func TestMeterBoundsWhatDecodingTakes(t *testing.T) {
	var members strings.Builder
	for i := range 9_999 {
		fmt.Fprintf(&members, `"%d":0,`, i)
	}
	for name, unit := range map[string]string{
		"empty objects": `{},`, "objects of one member": `{"":0},`, "lists": `[],`, "lists of one": `[0],`, "numbers": `0,`,
		"texts": `"x",`, "empty texts": `"",`, "escaped texts": `"\u0041\n",`, "long texts": `"` + strings.Repeat("x", 1000) + `",`,
		"objects of two": `{"a":0,"b":"c"},`, "objects of nine": `{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0},`,
		"wide object": "{" + members.String() + `"":0},`, "deep": strings.Repeat(`{"":`, 290) + "0" + strings.Repeat("}", 290) + ",",
		"deep lists": strings.Repeat(`[`, 290) + strings.Repeat("]", 290) + ",", "literals": `true,null,false,`,
	} {
		t.Run(name, func(t *testing.T) {
			count := max(1, min(9_000, 1<<20/len(unit)))
			text := []byte(`{"":[` + strings.Repeat(unit, count) + `0]}`)
			var m meter
			charged := m.add(text) + int64(len(text))
			limits := DefaultJSONLimits()
			limits.ArrayElements, limits.Tokens = 1<<20, 1<<21
			taken := allocated(t, func() (map[string]any, error) { return decodeBody([][]byte{text}, limits, nil) })
			if taken > charged {
				t.Errorf("decoding takes %d bytes, charged are %d", taken, charged)
			}
			t.Logf("%d bytes of text, %d taken, %d charged", len(text), taken, charged)
		})
	}
}

// allocated is how many bytes stay allocated of what decode makes.
func allocated(t *testing.T, decode func() (map[string]any, error)) int64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	params, err := decode()
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(params)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}
