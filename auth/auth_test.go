package auth_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coffer/auth"
	"coffer/engines"
)

// role is what a method's parameters look like.
type role struct {
	auth.TokenParams
	auth.OldTokenParams
}

// set decodes a body as a handler's parameters and puts it into s.
func set(t *testing.T, s *auth.TokenSettings, body map[string]any) error {
	t.Helper()
	p, err := engines.Decode[role](body)
	if err != nil {
		t.Fatal(err)
	}
	return s.Set(p.TokenParams, p.OldTokenParams)
}

// shown is what a read answers besides the values of a role that sets nothing.
func shown(s *auth.TokenSettings) map[string]any {
	data, empty := map[string]any{}, map[string]any{}
	s.Show(data)
	new(auth.TokenSettings).Show(empty)
	for name, value := range empty {
		if cmp.Equal(data[name], value) {
			delete(data, name)
		}
	}
	return data
}

func TestSettingsAreShownAsTheyWereSet(t *testing.T) {
	for name, tc := range map[string]struct {
		bodies []map[string]any
		want   map[string]any
	}{
		"nothing": {[]map[string]any{{}}, map[string]any{}},
		"everything": {[]map[string]any{{
			"token_bound_cidrs": "10.0.0.0/8,192.168.1.1", "token_explicit_max_ttl": "3h", "token_max_ttl": "2h",
			"token_no_default_policy": "true", "token_num_uses": "3", "token_period": "30m",
			"token_policies": []any{" B", "a", "b"}, "token_ttl": json.Number("3600"), "token_type": "service",
		}}, map[string]any{
			"token_bound_cidrs": []string{"10.0.0.0/8", "192.168.1.1"}, "token_explicit_max_ttl": int64(10800),
			"token_max_ttl": int64(7200), "token_no_default_policy": true, "token_num_uses": 3,
			"token_period": int64(1800), "token_policies": []string{"B", "a", "b"}, "token_ttl": int64(3600),
			"token_type": "service",
		}},
		"older names are shown by both": {[]map[string]any{{"policies": "a", "ttl": "1m", "num_uses": "0"}}, map[string]any{
			"policies": []string{"a"}, "token_policies": []string{"a"}, "ttl": int64(60), "token_ttl": int64(60),
		}},
		"the newer name wins, and is shown by both": {[]map[string]any{{"policies": "a", "token_policies": "b"}},
			map[string]any{"policies": []string{"b"}, "token_policies": []string{"b"}}},
		"and forgets the older": {[]map[string]any{{"period": "1m"}, {"token_period": "2m"}},
			map[string]any{"token_period": int64(120)}},
		"what is not sent stays": {[]map[string]any{{"token_ttl": "1m"}, {"token_policies": "a"}},
			map[string]any{"token_ttl": int64(60), "token_policies": []string{"a"}}},
		"only older names are made canonical": {[]map[string]any{{"policies": "b,a,B"}},
			map[string]any{"policies": []string{"a", "b"}, "token_policies": []string{"a", "b"}}},
		"newer ones are kept": {[]map[string]any{{"token_policies": "a,Root"}},
			map[string]any{"token_policies": []string{"a", "Root"}}},
		"older limits are not compared": {[]map[string]any{{"ttl": "2h", "max_ttl": "1h"}}, map[string]any{
			"ttl": int64(7200), "token_ttl": int64(7200), "max_ttl": int64(3600), "token_max_ttl": int64(3600)}},
		"default type": {[]map[string]any{{"token_type": "batch"}, {"token_type": "default"}}, map[string]any{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &auth.TokenSettings{}
			for _, body := range tc.bodies {
				if err := set(t, s, body); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tc.want, shown(s)); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatCannotBeATokenIsRefused(t *testing.T) {
	for text, body := range map[string]map[string]any{
		"'token_num_uses' cannot be negative":                                                           {"token_num_uses": "-1"},
		"'token_ttl' cannot be greater than 'token_max_ttl'":                                            {"token_ttl": "2h", "token_max_ttl": "1h"},
		`invalid 'token_type' value "root"`:                                                             {"token_type": "root"},
		`error parsing address "x": Unable to convert "x" to an IPv4 or IPv6 address, or a UNIX Socket`: {"token_bound_cidrs": "x"},
		"'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens": {
			"token_type": "batch", "token_period": "1h"},
		"'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count": {
			"token_type": "batch", "token_num_uses": "1"},
	} {
		err := set(t, &auth.TokenSettings{}, body)
		if !errors.Is(err, engines.ErrInvalid) || err.Error() != text {
			t.Errorf("%v: %v, want %q", body, err, text)
		}
	}
}

func TestLoginCarriesTheSettings(t *testing.T) {
	s := &auth.TokenSettings{}
	err := set(t, s, map[string]any{"token_ttl": "1m", "token_max_ttl": "2m", "token_explicit_max_ttl": "3m", "token_type": "service",
		"token_period": "4m", "token_num_uses": "5", "token_policies": "P,p", "token_no_default_policy": true, "token_bound_cidrs": "::1"})
	if err != nil {
		t.Fatal(err)
	}
	want := &engines.Login{
		Policies: []string{"p"}, TTL: time.Minute, MaxTTL: 2 * time.Minute, ExplicitMaxTTL: 3 * time.Minute,
		Period: 4 * time.Minute, NumUses: 5, NoDefaultPolicy: true, Type: engines.ServiceToken,
		BoundCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128")},
	}
	if diff := cmp.Diff(want, s.Login(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("login (-want +got):\n%s", diff)
	}
}

func TestAdmits(t *testing.T) {
	s := &auth.TokenSettings{}
	if !s.Admits(netip.Addr{}) {
		t.Error("without networks nobody is kept out")
	}
	if err := set(t, s, map[string]any{"token_bound_cidrs": "10.1.0.0/16"}); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "::1": false} {
		if got := s.Admits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	if s.Admits(netip.Addr{}) {
		t.Error("an unknown address came through")
	}
}

func FuzzParseCIDRs(f *testing.F) {
	f.Add("10.0.0.0/8")
	f.Add("fe80::1%eth0")
	f.Add("1.2.3.4/99")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := auth.ParseCIDRs([]string{text})
		if err != nil {
			return
		}
		again, err := auth.ParseCIDRs(auth.CIDRTexts(list))
		if err != nil || len(again) != len(list) {
			t.Errorf("%q reads as %v, which reads as %v, %v", text, list, again, err)
		}
	})
}

func TestIntersect(t *testing.T) {
	for _, tc := range []struct {
		a, b, want []string
		ok         bool
	}{
		{nil, nil, nil, true},
		{[]string{"10.0.0.0/8"}, nil, []string{"10.0.0.0/8"}, true},
		{[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16", "11.0.0.0/8"}, []string{"10.1.0.0/16"}, true},
		{[]string{"10.1.2.3/16"}, []string{"10.0.0.0/8", "0.0.0.0/0"}, []string{"10.1.2.3/16"}, true},
		{[]string{"0.0.0.0/0", "::/0"}, []string{"10.0.0.1", "2001:db8::/32"}, []string{"10.0.0.1", "2001:db8::/32"}, true},
		{[]string{"10.0.0.0/8"}, []string{"11.0.0.0/8"}, nil, false},
		{[]string{"0.0.0.0/0"}, []string{"::/0"}, nil, false},
	} {
		parse := func(texts []string) []netip.Prefix {
			list, err := auth.ParseCIDRs(texts)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		for _, sides := range [][2][]netip.Prefix{{parse(tc.a), parse(tc.b)}, {parse(tc.b), parse(tc.a)}} {
			got, ok := auth.Intersect(sides[0], sides[1])
			if diff := cmp.Diff(append([]string{}, tc.want...), auth.CIDRTexts(got)); diff != "" || ok != tc.ok {
				t.Errorf("%v and %v: %v, (-want +got):\n%s", sides[0], sides[1], ok, diff)
			}
		}
	}
}
