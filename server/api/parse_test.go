package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

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
		return nil, errors.New("a second value")
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
			if errors.Is(err, errNotUTF8) || errors.Is(err, errSurrogate) {
				if utf8.ValidString(text) && !strings.Contains(strings.ToLower(text), `\ud`) {
					t.Fatalf("%q in chunks of %d: %v", text, size, err)
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

// Nothing is put in the place of what is not Unicode: it is refused, in keys as in values, wherever chunks end.
func TestParserRefusesWhatIsNotUnicode(t *testing.T) {
	refused := map[string]error{
		`"\ud800"`: errSurrogate, `"\udc00"`: errSurrogate, `"\ud800x"`: errSurrogate, `"\ud800\n"`: errSurrogate,
		`"\ud800\ud800"`: errSurrogate, `"\ud800\u0041"`: errSurrogate, `"\udc00\ud800"`: errSurrogate,
		`"\uD83D \uDE00"`: errSurrogate, `{"\ud800":1}`: errSurrogate, `{"a":{"b":["\uDFFF"]}}`: errSurrogate,
		"\"\xff\"": errNotUTF8, "\"\xc3\"": errNotUTF8, "\"\xed\xa0\x80\"": errNotUTF8, "\"\xc0\x80\"": errNotUTF8,
		"\"\xf4\x90\x80\x80\"": errNotUTF8, "{\"a\xff\":1}": errNotUTF8, "\"\\n\xff\"": errNotUTF8,
	}
	kept := map[string]string{
		`"\ud83d\ude00"`: "\U0001f600", `"\uD83D\uDE00\u0000"`: "\U0001f600\x00", `"\ufffd"`: "\ufffd", "\"\ufffd\"": "\ufffd",
		`"\uffff\ufdd0"`: "\uffff\ufdd0", "\"\U0010ffff\"": "\U0010ffff", `"\udbff\udfff"`: "\U0010ffff",
	}
	for _, size := range []int{100, 1, 3} {
		parse := func(text string) (any, error) {
			chunks := chunked(text, size)
			p := parser{limits: DefaultJSONLimits(), buf: chunks[0], rest: chunks[1:]}
			return p.parse()
		}
		for text, want := range refused {
			if got, err := parse(text); !errors.Is(err, want) {
				t.Errorf("%q in chunks of %d: %#v, %v, want %v", text, size, got, err, want)
			}
		}
		for text, want := range kept {
			if got, err := parse(text); err != nil || got != want {
				t.Errorf("%q in chunks of %d: %#v, %v, want %q", text, size, got, err, want)
			}
		}
	}
}

func TestFormsThatAreNotUnicodeAreRefused(t *testing.T) {
	for text, want := range map[string]error{
		"a=b&c=%C3%A9": nil, "a=%ff": errFormUTF8, "a=%ed%a0%80": errFormUTF8, "%c3=a": errFormUTF8, "a=1&a=%ff": errFormUTF8,
		"a=%zz": errForm,
	} {
		in := &intake{text: chunked(text, 3), size: int64(len(text))}
		if got, err := in.fields(DefaultJSONLimits()); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
}

// TestDuplicateKeysAreRepeatedInPart holds that an error does not send a key of megabytes back.
func TestDuplicateKeysAreRepeatedInPart(t *testing.T) {
	key := strings.Repeat("é", 1<<18)
	_, err := decodeText(fmt.Sprintf(`{"%[1]s":1,"%[1]s":2}`, key), DefaultJSONLimits())
	if want := "duplicate key '" + key[:100] + "...' in object"; err == nil || err.Error() != want {
		t.Errorf("%.200v", err)
	}
}
