package strictjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

type claims struct {
	Audience string `json:"aud"`
	Inner    struct {
		Subject string `json:"sub"`
	} `json:"inner"`
}

func TestUnmarshalMatchesExactKeys(t *testing.T) {
	var c claims
	text := `{"AUD":"x","Inner":{"sub":"a"},"other":1}`
	if err := Unmarshal([]byte(text), &c); err != nil || c.Audience != "" || c.Inner.Subject != "" {
		t.Errorf("%+v, %v", c, err)
	}
	if err := Unmarshal([]byte(`{"aud":"x","inner":{"sub":"a","SUP":1}}`), &c); err != nil || c.Audience != "x" || c.Inner.Subject != "a" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAmbiguousTextsAreRefused(t *testing.T) {
	for _, text := range []string{
		`{"aud":1,"aud":2}`, `{"aud":1,"AUD":2}`, `{"sub":1,"\u017fub":2}`, `{"k":1,"\u212a":2}`, `{"a":{"b":1,"B":2}}`, `[{"a":1,"A":1}]`,
		`{"a":1,"\u0061":2}`, `{"aud":1,"a":[[{"x":0,"x":0}]]}`,
	} {
		if err := Unmarshal([]byte(text), new(claims)); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("Unmarshal(%s): %v", text, err)
		}
		if _, err := Object([]byte(text)); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("Object(%s): %v", text, err)
		}
	}
	for _, text := range []string{`{"AUD":1}`, `{"Sub":1}`, `{"\u017fub":1}`} {
		if _, err := Object([]byte(text), "aud", "sub"); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("Object(%s) for aud and sub: %v", text, err)
		}
		if _, err := Object([]byte(text)); err != nil {
			t.Errorf("Object(%s): %v", text, err)
		}
	}
	if _, err := Object([]byte(`{"a":{"AUD":1},"aud":2}`), "aud"); err != nil {
		t.Errorf("a name further down: %v", err)
	}
}

func TestMalformedTextsAreRefused(t *testing.T) {
	deep := strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)
	for _, text := range []string{``, `{`, `{"a"}`, `{"a":1}x`, `{} {}`, `nul`, deep, `[1,`} {
		if err := Check([]byte(text)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for _, text := range []string{`null`, `[]`, `1`} {
		if _, err := Object([]byte(text)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s as an object: %v", text, err)
		}
	}
	if err := Unmarshal([]byte(`{"aud":1}`), new(claims)); err == nil {
		t.Errorf("a value of the wrong type: %v", err)
	}
}

// FuzzUnmarshal holds that what is not refused means the same to encoding/json, once names are bound.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{`{"aud":"x"}`, `{"AUD":"x"}`, `{"aud":"x","inner":{"sub":"y"}}`, `{"aud":"x","a\u017f":1}`, `{"Inner":{}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if Check([]byte(text), "aud", "inner") != nil {
			return
		}
		var ours, theirs claims
		if Unmarshal([]byte(text), &ours) != nil || json.Unmarshal([]byte(text), &theirs) != nil {
			return
		}
		if ours.Audience != theirs.Audience {
			t.Errorf("%q: %q, to encoding/json %q", text, ours.Audience, theirs.Audience)
		}
	})
}

func TestTextsThatAreNotUnicodeAreRefused(t *testing.T) {
	for _, text := range []string{
		`{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\ud800"}`, `{"a":"\ud800\n"}`, `{"a":"\ud800x\udc00"}`, `{"\uD800":"a"}`,
		"{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", `{"a":"\\\udfff"}`,
	} {
		if _, err := Object([]byte(text)); !errors.Is(err, ErrNotUnicode) {
			t.Errorf("Object(%q): %v", text, err)
		}
		if _, err := Texts([]byte(text)); !errors.Is(err, ErrNotUnicode) {
			t.Errorf("Texts(%q): %v", text, err)
		}
	}
	for text, want := range map[string]string{
		`{"a":"\ud83d\ude00"}`: "\U0001f600", `{"a":"\\ud800"}`: `\ud800`, `{"a":"\ufffd\u0000"}`: "\ufffd\x00", `{"a":"é\n"}`: "é\n",
	} {
		if got, err := Object([]byte(text)); err != nil || got["a"] != want {
			t.Errorf("Object(%q): %v, %v", text, got, err)
		}
		if got, err := Texts([]byte(text)); err != nil || got["a"] != want {
			t.Errorf("Texts(%q): %v, %v", text, got, err)
		}
	}
}

func TestTexts(t *testing.T) {
	if got, err := Texts([]byte(` {"a":"1", "A":"2"} `)); err != nil || len(got) != 2 || got["a"] != "1" || got["A"] != "2" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := Texts([]byte(`{}`)); err != nil || got == nil {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]error{
		`{"a":"1","\u0061":"2"}`: ErrAmbiguous, `null`: ErrSyntax, `[]`: ErrSyntax, ``: ErrSyntax, `{"a":1}`: ErrSyntax,
		`{"a":"1"`: ErrSyntax, `{"a":"1"} {}`: ErrSyntax, `{"a"}`: ErrSyntax, `{"a":null}`: ErrSyntax, `{"a":["1"]}`: ErrSyntax,
	} {
		if got, err := Texts([]byte(text)); !errors.Is(err, want) {
			t.Errorf("Texts(%q): %v, %v", text, got, err)
		}
	}
}
