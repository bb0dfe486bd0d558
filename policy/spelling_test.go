package policy_test

import (
	"strings"
	"testing"

	"coffer/policy"
)

// TestSpellings asks for "auth/u/users/boss/policies", in which the case of "boss" makes no difference, and for
// "sys/mounts/x", after which a "/" makes none.
func TestSpellings(t *testing.T) {
	folded := policy.Request{Capability: policy.Update, Path: "auth/u/users/boss/policies",
		Spellings: policy.Spellings{FoldFrom: len("auth/u/users/"), FoldTo: len("auth/u/users/boss")}}
	shouted := folded
	shouted.Spellings.Asked = "auth/u/users/BOSS/policies"
	mount := policy.Request{Capability: policy.Update, Path: "sys/mounts/x", Spellings: policy.Spellings{Slash: true}}
	foldedMount := mount
	foldedMount.Spellings.FoldFrom, foldedMount.Spellings.FoldTo = len("sys/mounts/"), len("sys/mounts/x")
	letters := policy.Request{Capability: policy.Update, Path: "auth/l/users/änne/\u2c65",
		Spellings: policy.Spellings{FoldFrom: len("auth/l/users/"), FoldTo: len("auth/l/users/änne/\u2c65"), Letters: true}}
	ascii := letters
	ascii.Spellings.Letters = false
	slashed := mount
	slashed.Spellings.Asked = "sys/mounts/x/"
	for name, tc := range map[string]struct {
		request policy.Request
		rules   string
		want    bool
	}{
		"granted in lower case":                {shouted, `auth/u/users/boss/policies: update`, true},
		"granted in another case":              {folded, `auth/u/users/Boss/policies: update`, true},
		"granted by a pattern in another case": {folded, `auth/u/users/B*: update`, true},
		"granted by segments in another case":  {folded, `auth/+/users/BO*: update`, true},
		"denied in lower case":                 {shouted, `auth/*: update; auth/u/users/boss/policies: deny`, false},
		"denied in another case":               {folded, `auth/*: update; auth/u/users/Boss/policies: deny`, false},
		"denied in a third case":               {shouted, `auth/*: update; auth/u/users/Boss/policies: deny`, false},
		"denied by a pattern in another case":  {folded, `auth/*: update; auth/u/users/B*: deny`, false},
		"denied by segments in another case":   {folded, `auth/*: update; auth/u/+/BOSS/policies: deny`, false},
		"two cases, one denied":                {folded, `auth/u/users/boss/policies: update; auth/u/users/Boss/policies: deny`, false},
		"two patterns, one denied":             {folded, `auth/u/users/bo*: update; auth/u/users/Bo*: deny`, false},
		"two patterns, the other denied":       {folded, `auth/u/users/bo*: deny; auth/u/users/Bo*: update`, false},
		"the longer pattern of another case":   {folded, `auth/u/users/b*: deny; auth/u/users/Boss/*: update`, true},
		"the shorter pattern of another case":  {folded, `auth/u/users/B*: deny; auth/u/users/boss/*: update`, true},
		"a narrower rule in another case":      {folded, `auth/u/users/*: update; auth/u/users/BOSS/policies: read`, false},
		"another case of a fixed part":         {folded, `auth/u/users/boss/Policies: update`, false},
		"another case of the mount":            {folded, `auth/U/users/boss/policies: update`, false},
		"a longer name":                        {folded, `auth/u/users/Bosss/policies: update`, false},
		"a shorter name":                       {folded, `auth/u/users/Bos/policies: update`, false},
		"no folding of other letters":          {folded, "auth/u/users/bo\u017f\u017f/policies: update", false},

		"all letters, another case":          {letters, "auth/*: update; auth/l/users/Änne/\u023a: deny", false},
		"all letters, a pattern":             {letters, `auth/*: update; auth/l/users/Ä*: deny`, false},
		"all letters, segments":              {letters, "auth/*: update; auth/+/users/+/\u023a: deny", false},
		"all letters, granted":               {letters, "auth/l/users/ÄNNE/\u023a: update", true},
		"all letters, a longer name":         {letters, "auth/l/users/ÄNNEE/\u023a: update", false},
		"all letters, a shorter name":        {letters, "auth/l/users/ÄNNE/: update", false},
		"all letters, the fixed part":        {letters, "auth/L/users/änne/\u2c65: update", false},
		"all letters where ASCII alone does": {ascii, "auth/l/users/Änne/\u2c65: update", false},

		"two cases add up":                   {folded, `auth/u/users/boss/policies: read; auth/u/users/Boss/policies: update`, true},
		"denied by segments with the slash":  {mount, `sys/*: update; sys/mounts/+/: deny`, false},
		"granted by segments with the slash": {mount, `sys/+/x/: update`, true},

		"granted without the slash":             {slashed, `sys/mounts/x: update`, true},
		"granted with the slash":                {mount, `sys/mounts/x/: update`, true},
		"denied without the slash":              {slashed, `sys/mounts/*: update; sys/mounts/x: deny`, false},
		"denied with the slash":                 {mount, `sys/mounts/*: update; sys/mounts/x/: deny`, false},
		"both, one denied":                      {mount, `sys/mounts/x: update; sys/mounts/x/: deny`, false},
		"what is below is another thing":        {mount, `sys/mounts/*: update; sys/mounts/x/*: deny`, true},
		"what is asked for is denied by a star": {slashed, `sys/mounts/*: update; sys/mounts/x/*: deny`, false},
		"a star below grants nothing here":      {slashed, `sys/mounts/x/*: update`, false},
		"a plus below grants nothing here":      {mount, `sys/mounts/x/+: update`, false},
		"a plus below, asked with the slash":    {slashed, `sys/mounts/x/+: update`, false},
		"a plus below in another case":          {foldedMount, `sys/mounts/X/+: update`, false},
		"a plus below passes no deny":           {mount, `sys/mounts/*: deny; sys/mounts/x/+: update`, false},
		"a star below hides no deny":            {mount, `sys/mounts/*: update; sys/mounts/+/: deny; sys/mounts/x/*: update`, false},
		"segments with the slash, a deny":       {mount, `sys/mounts/*: deny; sys/mounts/+/: update`, false},
		"segments with the slash, another case": {foldedMount, `sys/+/X/: update`, true},
		"segments with and without, a deny":     {mount, `sys/+/x: update; sys/+/x/: deny`, false},
		"segments with and without add up":      {mount, `sys/+/x: read; sys/+/x/: update`, true},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for rule := range strings.SplitSeq(tc.rules, "; ") {
				path, capability, _ := strings.Cut(rule, ": ")
				text.WriteString("path \"" + path + "\" { capabilities = [\"" + capability + "\"] }\n")
			}
			p, err := policy.Parse("p", text.String())
			if err != nil {
				t.Fatal(err)
			}
			if d := policy.Compile(p).Decide(tc.request); d.Allowed != tc.want {
				t.Errorf("%v: %s", d.Allowed, d.Reason)
			}
		})
	}
}
