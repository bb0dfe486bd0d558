package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

// decodeText decodes a body of one chunk.
func decodeText(body string, limits JSONLimits) (map[string]any, error) {
	return decodeBody([][]byte{[]byte(body)}, limits, nil)
}

func TestDecodeBody(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want map[string]any
	}{
		"nothing":              {"", nil},
		"space":                {" \n", nil},
		"null":                 {"null", nil},
		"numbers keep theirs":  {`{"a":1.50,"b":12345678901234567890}`, map[string]any{"a": json.Number("1.50"), "b": json.Number("12345678901234567890")}},
		"nested":               {`{"a":{"b":[true,null,"x"]}}`, map[string]any{"a": map[string]any{"b": []any{true, nil, "x"}}}},
		"empty list is a list": {`{"a":[]}`, map[string]any{"a": []any{}}},
		"space around":         {" {} \n", map[string]any{}},
		"escapes":              {`{"\u0061":"\n"}`, map[string]any{"a": "\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeText(tc.body, DefaultJSONLimits())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeBodyRefuses(t *testing.T) {
	repeat := strings.Repeat
	var many, pairs strings.Builder
	for i := range 10_001 {
		fmt.Fprintf(&pairs, `"k%d":1,`, i)
		many.WriteString("1,")
	}
	for name, tc := range map[string]struct {
		body, text string
		kind       error
	}{
		"unclosed":     {`{"a":{"b":1`, "malformed JSON, unclosed containers", engines.ErrFailed},
		"trailing":     {`{} x`, "invalid character 'x' after top-level value", engines.ErrFailed},
		"second value": {`{} {}`, "invalid character '{' after top-level value", engines.ErrFailed},
		"duplicate":    {`{"a":1,"a":2}`, "duplicate key 'a' in object", engines.ErrFailed},
		"escaped twin": {`{"a":1,"\u0061":2}`, "duplicate key 'a' in object", engines.ErrFailed},
		"deep":         {repeat("[", 301) + repeat("]", 301), "JSON input exceeds allowed nesting depth", engines.ErrFailed},
		"long string":  {`{"a":"` + repeat("a", 1<<20+1) + `"}`, "JSON string value exceeds allowed length", engines.ErrFailed},
		"long key":     {`{"` + repeat("a", 1<<20+1) + `":1}`, "JSON string value exceeds allowed length", engines.ErrFailed},
		"long number":  {`{"a":` + repeat("1", 1<<20+1) + `}`, "JSON number value exceeds allowed length", engines.ErrFailed},
		"wide list":    {`{"a":[` + many.String() + `1]}`, "JSON array exceeds allowed element count", engines.ErrFailed},
		"wide object":  {`{` + pairs.String() + `"z":1}`, "JSON object exceeds allowed entry count", engines.ErrFailed},
		"list":         {`[1]`, "error parsing JSON: failed to parse JSON input: json: cannot unmarshal array into Go value of type map[string]interface {}", engines.ErrInvalid},
		"string":       {`"x"`, "error parsing JSON: failed to parse JSON input: json: cannot unmarshal string into Go value of type map[string]interface {}", engines.ErrInvalid},
		"bad literal":  {`{"a":tru}`, "error parsing JSON: failed to parse JSON input: invalid character '}' in literal true (expecting 'e')", engines.ErrInvalid},
		"no key":       {`{1:2}`, "error parsing JSON: failed to parse JSON input: invalid character '1' looking for beginning of object key string", engines.ErrInvalid},
		"no colon":     {`{"a" 1}`, "error parsing JSON: failed to parse JSON input: invalid character '1' after object key", engines.ErrInvalid},
		"no comma":     {`{"a":[1 2]}`, "error parsing JSON: failed to parse JSON input: invalid character '2' after array element", engines.ErrInvalid},
		"no value":     {`{"a":}`, "invalid character '}' after object key", engines.ErrFailed},
		"late comma":   {`{"a":1,}`, "invalid character '}' after object key-value pair", engines.ErrFailed},
		"one too many": {`{"a":[1,]}`, "invalid character ']' after array element", engines.ErrFailed},
		"quotes":       {`{'a':1}`, "invalid character ''' looking for beginning of value", engines.ErrFailed},
		"open text":    {`{"a`, "malformed JSON, unclosed string", engines.ErrFailed},
		"bad escape":   {`{"a":"\q"}`, "invalid character 'q' in string escape code", engines.ErrFailed},
		"bad number":   {`{"a":1e}`, "malformed JSON, invalid number syntax for '1e'", engines.ErrFailed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeText(tc.body, DefaultJSONLimits())
			if !errors.Is(err, tc.kind) {
				t.Fatalf("error = %v, want %v", err, tc.kind)
			}
			if err.Error() != tc.text {
				t.Errorf("text = %q, want %q", err, tc.text)
			}
		})
	}
}

func TestManySmallValuesAreBounded(t *testing.T) {
	row := "[" + strings.Repeat("1,", 9_999) + "1]"
	body := `{"a":[` + strings.Repeat(row+",", 60) + row + `]}`
	if _, err := decodeText(body, DefaultJSONLimits()); !errors.Is(err, engines.ErrFailed) {
		t.Errorf("error = %v, want ErrFailed", err)
	}
}

func FuzzDecodeBody(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"x",null,{"b":true}]}`, `[[[[`, `{"a":1}{`, `{"a":1,"a":1}`, `"`, `{"a":tru}`, "\x00"} {
		f.Add(seed)
	}
	limits := JSONLimits{Depth: 5, StringLength: 16, ObjectEntries: 4, ArrayElements: 4, Tokens: 100}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := decodeText(body, limits)
		if err != nil {
			if status, known := statusOf(err); !known {
				t.Errorf("error %v has no status (%d)", err, status)
			}
			return
		}
		var want map[string]any
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil && strings.TrimSpace(body) != "" {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("differs from encoding/json (-want +got):\n%s", diff)
		}
	})
}

// A body that is refused must not cost a scan that is deep or long.
func TestMalformedDeepBodyIsRefusedEarly(t *testing.T) {
	for body, want := range map[string]error{
		`{"a":` + strings.Repeat(`[`, 1<<20):                                              errTooDeep,
		`{"a":"` + strings.Repeat("x", 1<<19) + `","b" "c",` + strings.Repeat(`[`, 1<<20): engines.ErrInvalid,
	} {
		allocated := testing.AllocsPerRun(1, func() {
			if _, err := decodeText(body, DefaultJSONLimits()); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		})
		if allocated > 1000 {
			t.Errorf("%.0f allocations", allocated)
		}
	}
}
