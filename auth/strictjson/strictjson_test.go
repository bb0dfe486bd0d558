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
