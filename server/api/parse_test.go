package api

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// chunked cuts a text into chunks of n bytes.
func chunked(text string, n int) [][]byte {
	var chunks [][]byte
	for len(text) > n {
		chunks, text = append(chunks, []byte(text[:n])), text[n:]
	}
	return append(chunks, []byte(text))
}

// reference decodes with encoding/json, which takes the last of several equal keys.
func reference(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errSyntax
	}
	return v, nil
}

// FuzzParser compares the parser with encoding/json, on the text in one piece and in chunks of every small size.
func FuzzParser(f *testing.F) {
	for _, seed := range []string{
		`null`, ` {"a":[1,-0.5e+10,"x\u00e9\ud83d\ude00\ud800\n"],"b":{"":true,"c":null}} `, `[[],{}]`, `"é`, `{"a":1,"a":2}`, `01`, `-`,
		`1.`, `1e`, `tru`, `"\x"`, "\"\x01\"", "\"\xff\xc3\"", `[1,]`, `{"a" 1}`, `{,}`, `"\ud800\u0041"`, `{"a":"` + strings.Repeat("x", 40) + `"}`,
	} {
		f.Add(seed)
	}
	limits := DefaultJSONLimits()
	f.Fuzz(func(t *testing.T, text string) {
		want, wantErr := reference(text)
		for _, size := range []int{len(text) + 1, 1, 2, 3, 7} {
			chunks := chunked(text, size)
			check := parser{limits: limits, checking: true, buf: chunks[0], rest: chunks[1:]}
			_, checkErr := check.parse()
			p := parser{limits: limits, buf: chunks[0], rest: chunks[1:]}
			got, err := p.parse()
			if strings.TrimLeft(text, " \t\r\n") == "" {
				if got != nil || err != nil {
					t.Fatalf("%q: %v, %v", text, got, err)
				}
				continue
			}
			if err != nil && (strings.Contains(err.Error(), "duplicate key") || strings.Contains(err.Error(), "exceeds")) {
				continue
			}
			if (err == nil) != (wantErr == nil) || (checkErr == nil) != (wantErr == nil) {
				t.Fatalf("%q in chunks of %d: %v, checked: %v, encoding/json: %v", text, size, err, checkErr, wantErr)
			}
			if err == nil && !cmp.Equal(got, want) {
				t.Fatalf("%q in chunks of %d: %#v, want %#v", text, size, got, want)
			}
		}
	})
}
