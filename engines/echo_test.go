package engines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzAppendText(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"\\\n\r\t\b\f\x00\x1f\x7f", "<&>", "\xff\xc3", "é\u2028\u2029\ufffd😀", "\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendText(nil, s); string(got) != string(want) {
			t.Errorf("AppendText: %s, want %s", got, want)
		}
		if got := AppendText(nil, []byte(s)); string(got) != string(want) {
			t.Errorf("AppendText of bytes: %s, want %s", got, want)
		}
		if a, b := TextSize(s), TextSize([]byte(s)); a != len(want) || b != len(want) {
			t.Errorf("TextSize: %d, %d, want %d", a, b, len(want))
		}
		if cut := Cut(s, 3); utf8.ValidString(s) && !utf8.ValidString(cut) || len(cut) > 3+len("...") {
			t.Errorf("Cut: %q", cut)
		}
	})
}

// TestClientsTextsAreRepeatedInPart holds that what a client sends does not come back in full, in whatever place.
func TestClientsTextsAreRepeatedInPart(t *testing.T) {
	long := strings.Repeat("<", 1<<20)
	params := map[string]any{"list": []any{map[string]any{"a": long}}, "known": "x"}
	for i := range 1000 {
		params[fmt.Sprint(i, long[:10_000])] = true
	}
	type known struct {
		Known string `param:"known"`
		List  any    `param:"list"`
	}
	route := Path("x", "", OnUpdate(func(context.Context, *Request, known) (*Response, error) {
		return &Response{Data: map[string]any{}}, nil
	}))
	resp, err := route.handlers[Update].call(t.Context(), &Request{Params: params}, vars{})
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(resp.Warnings, ""); len(w) > 4<<10 || !strings.Contains(w, "and 980 more") {
		t.Errorf("%d bytes of warnings: %.200s", len(w), w)
	}
	for _, err := range []error{Invalid("no %q", long), Failed("%s", long), Denied("%s", long), NotFoundf("%s", long)} {
		var public *Error
		if !errors.As(err, &public) || len(public.Message) > MaxMessage+3 {
			t.Errorf("a message of %d bytes", len(err.Error()))
		}
	}
	taken := testing.AllocsPerRun(1, func() { err = unconvertible("", "int", params["list"]) })
	if !strings.HasSuffix(err.Error(), "value: '...'") || taken > 20 {
		t.Errorf("%v allocations for %v", taken, err)
	}
}
