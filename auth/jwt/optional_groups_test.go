package jwt

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/engines"
)

func TestGroupsClaimMayBeOptional(t *testing.T) {
	v := newMount(t)
	v.must("config", claims{"jwt_validation_pubkeys": publicPEM(t, "rsa")})
	role := claims{"role_type": "jwt", "user_claim": "sub", "bound_subject": "ann", "groups_claim": "groups"}
	v.must("role/strict", role)
	role["groups_claim_optional"] = true
	v.must("role/optional", role)
	for _, tt := range []struct {
		what   string
		more   claims
		groups []string // of the role that is optional; nil when it refuses as well
		strict bool
	}{
		{"no claim", claims{}, []string{}, false},
		{"null", claims{"groups": nil}, []string{}, false},
		{"another case", claims{"other": []any{"a"}}, []string{}, false},
		{"no groups", claims{"groups": []any{}}, []string{}, true},
		{"groups", claims{"groups": []any{"a", "b"}}, []string{"a", "b"}, true},
		{"one group", claims{"groups": "a"}, []string{"a"}, true},
		{"an object", claims{"groups": claims{"a": 1}}, nil, false},
		{"a list of numbers", claims{"groups": []any{1}}, nil, false},
	} {
		tt.more["sub"] = "ann"
		login, err := v.login("optional", "rsa", tt.more)
		switch {
		case (err == nil) != (tt.groups != nil):
			t.Errorf("%s: %v", tt.what, err)
		case err == nil && !cmp.Equal(tt.groups, login.GroupAliases):
			t.Errorf("%s: %q, want %q", tt.what, login.GroupAliases, tt.groups)
		}
		if _, err := v.login("strict", "rsa", tt.more); (err == nil) != tt.strict {
			t.Errorf("%s, the claim is needed: %v", tt.what, err)
		}
	}
	for name, want := range map[string]any{"optional": true, "strict": nil} {
		resp, err := v.call(engines.Read, "role/"+name, nil)
		if err != nil || resp.Data["groups_claim_optional"] != want {
			t.Errorf("%s shows %v, %v", name, resp.Data["groups_claim_optional"], err)
		}
	}
}

// Azure's tokens may say that the groups are to be asked for elsewhere: then it is not known that there are none.
func TestOptionalGroupsOfAzureAreAskedForElsewhere(t *testing.T) {
	s := &setup{config: &config{Provider: map[string]any{"provider": providerAzure}}}
	r := &role{GroupsClaim: "groups", GroupsOptional: true}
	elsewhere := claims{"src1": claims{"endpoint": "https://graph.windows.net/x/getMemberObjects"}}
	for _, tt := range []struct {
		claims   claims
		optional bool
		refused  bool
	}{
		{claims{}, true, false},
		{claims{"_claim_names": claims{"other": "src1"}}, true, false},
		{claims{"_claim_names": claims{"groups": "src1"}, "_claim_sources": elsewhere}, true, true}, // no access token
		{claims{"_claim_names": claims{"groups": 1}}, true, true},
		{claims{"_claim_names": "groups"}, true, true},
		{claims{}, false, true},
	} {
		r.GroupsOptional = tt.optional
		if err := s.specialGroups(t.Context(), r, "ann", tt.claims, ""); (err != nil) != tt.refused {
			t.Errorf("%v, optional %v: %v", tt.claims, tt.optional, err)
		}
	}
}
