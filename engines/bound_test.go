package engines_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"coffer/engines"
)

func TestDestinations(t *testing.T) {
	base := engines.NewDestination([]string{"ldap://one", "https://two/api"}, "false", "PEM one\n")
	for _, tc := range []struct {
		addresses []string
		terms     []string
		same      bool
	}{
		{[]string{"https://two/api", "ldap://one"}, []string{"false", "PEM one"}, true},
		{[]string{" LDAP://ONE:389/", "HTTPS://Two:443/api/", "", "ldap://one"}, []string{"false", "PEM\r\none\n"}, true},
		{[]string{"ldap://one"}, []string{"false", "PEM one"}, false},
		{[]string{"ldaps://one", "https://two/api"}, []string{"false", "PEM one"}, false},
		{[]string{"ldap://one:636", "https://two/api"}, []string{"false", "PEM one"}, false},
		{[]string{"ldap://one", "https://two/API"}, []string{"false", "PEM one"}, false},
		{[]string{"ldap://one", "https://u@two/api"}, []string{"false", "PEM one"}, false},
		{[]string{"ldap://one", "https://two/api"}, []string{"true", "PEM one"}, false},
		{[]string{"ldap://one", "https://two/api"}, []string{"PEM one", "false"}, false},
		{[]string{"ldap://one", "https://two/api"}, []string{"false", "PEM one", ""}, false},
		{[]string{"ldap://one", "https://two/api", "false"}, []string{"PEM one"}, false},
		{[]string{"ldap://one", "https://two\u212a/api"}, []string{"false", "PEM one"}, false},
	} {
		if same := engines.NewDestination(tc.addresses, tc.terms...) == base; same != tc.same {
			t.Errorf("%q on terms %q: the same is %v", tc.addresses, tc.terms, same)
		}
	}
}

func TestBoundIsForItsDestination(t *testing.T) {
	here, there := engines.NewDestination([]string{"ldap://here"}), engines.NewDestination([]string{"ldap://there"})
	var nowhere engines.Destination
	b := engines.Bind("canary", here)
	if b.For(here) != "canary" || b.For(there) != "" || b.For(nowhere) != "" {
		t.Error("handed out for another destination, or not for its own")
	}
	raw, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var again engines.Bound
	if err := json.Unmarshal(raw, &again); err != nil || again != b {
		t.Errorf("not the same after storage: %v", err)
	}
	if again.Forget(here) || again.IsZero() {
		t.Error("forgotten though nothing has changed")
	}
	if !again.Forget(there) || !again.IsZero() || again.Forget(there) {
		t.Error("not forgotten, once")
	}
	var old engines.Bound
	if err := json.Unmarshal([]byte(`"canary"`), &old); err != nil {
		t.Fatal(err)
	}
	if old.For(here) != "" || old.For(nowhere) != "" {
		t.Error("handed out without a destination")
	}
	old.Adopt(here)
	old.Adopt(there)
	if old.For(here) != "canary" || old.For(there) != "" {
		t.Error("not adopted by the first destination alone")
	}
	if engines.Bind("", here) != (engines.Bound{}) {
		t.Error("nothing is bound")
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "b", b)
	if text := fmt.Sprintf("%v %+v %#v %s", b, b, b, b) + log.String(); strings.Contains(text, "canary") {
		t.Errorf("shown: %s", text)
	}
}

func FuzzBound(f *testing.F) {
	f.Add([]byte(`"canary"`))
	f.Add([]byte(`{"secret":"canary","for":"x"}`))
	f.Add([]byte(`{"secret":"canary"}`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b engines.Bound
		if json.Unmarshal(raw, &b) != nil {
			return
		}
		if b.For(engines.Destination{}) != "" {
			t.Error("handed out for no destination")
		}
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		var again engines.Bound
		if err := json.Unmarshal(text, &again); err != nil || again != b {
			t.Errorf("%s is read as another", text)
		}
	})
}
