package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"coffer/barrier/secret"
)

const canary = "canary-key-bytes"

func TestNothingPrintsTheBytes(t *testing.T) {
	key := secret.New([]byte(canary))
	type exported struct{ Key secret.Key }
	type unexported struct{ key secret.Key }
	type pointer struct{ key *secret.Key }
	values := []any{
		key, &key, exported{key}, &exported{key}, unexported{key}, &unexported{key}, pointer{&key},
		[]secret.Key{key}, map[string]secret.Key{"k": key}, fmt.Errorf("wrapped: %v", key),
	}
	verbs := strings.Fields("%v %+v %#v %s %q %x %X %d %o %c %U %10.3s %p")
	var texts []string
	for _, v := range values {
		for _, verb := range verbs {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		asJSON, err := json.Marshal(v)
		texts = append(texts, string(asJSON), fmt.Sprint(err))
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		} {
			var out bytes.Buffer
			slog.New(handler(&out)).Info("m", "key", v)
			texts = append(texts, out.String())
		}
	}
	asXML, err := xml.Marshal(exported{key})
	texts = append(texts, string(asXML), fmt.Sprint(err), key.String(), key.GoString())
	hexed := fmt.Sprintf("%x", canary)
	decimals := strings.Trim(string(fmt.Append(nil, []byte(canary))), "[]")
	for _, text := range texts {
		for _, leak := range []string{canary, "canary", hexed, strings.ToUpper(hexed), decimals, "Y2FuYXJ5"} {
			if strings.Contains(text, leak) {
				t.Errorf("the bytes are in %q", text)
			}
		}
	}
}

func TestEqual(t *testing.T) {
	key := secret.New([]byte("a"))
	for _, test := range []struct {
		name  string
		other secret.Key
		want  bool
	}{
		{"itself", key, true},
		{"same bytes", secret.New([]byte("a")), true},
		{"other bytes", secret.New([]byte("b")), false},
		{"longer", secret.New([]byte("aa")), false},
		{"empty", secret.Key{}, false},
	} {
		if got := key.Equal(test.other); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestOwnership(t *testing.T) {
	source := []byte("source")
	key := secret.New(source)
	clear(source)
	same, clone := key, key.Clone()
	if got := string(key.Reveal()); got != "source" {
		t.Fatalf("New shares the caller's bytes: %q", got)
	}
	key.Zero()
	if got := same.Reveal(); !bytes.Equal(got, make([]byte, 6)) {
		t.Errorf("Zero left %q in a copy", got)
	}
	if got := string(clone.Reveal()); got != "source" {
		t.Errorf("Zero reached the clone: %q", got)
	}
	secret.Key{}.Zero()
}

func TestRandom(t *testing.T) {
	a, b := secret.Random(32), secret.Random(32)
	if a.Len() != 32 || a.Equal(b) || a.Equal(secret.New(make([]byte, 32))) {
		t.Error("Random is not random")
	}
}
