package engines

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONSizeIsALowerBound(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `0`, `1e9`, `""`, `"a"`, `"a\nb"`, `[]`, `[1]`, `[1,2,[3,"x"]]`, `{}`, `{"":0}`, `{"a":{"b":[null,false]},"c":"d"}`,
	} {
		var v any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if got := JSONSize(v); got > len(text) || got < len(text)/3 {
			t.Errorf("%s: %d, but its length is %d", text, got, len(text))
		}
	}
}
