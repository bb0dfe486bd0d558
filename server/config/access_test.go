package config

import (
	"strings"
	"testing"
)

func TestWhoTakesPartWithoutAToken(t *testing.T) {
	const machine, everybody, nobody = AccessAtMachine, AccessEverybody, AccessNobody
	for _, test := range []struct {
		top, listener       string
		generateRoot, rekey Access
	}{
		{"", "", machine, machine},
		{`enable_unauthenticated_access = []`, "", machine, machine},
		{`enable_unauthenticated_access = ["generate-root"]`, "", everybody, machine},
		{`enable_unauthenticated_access = ["rekey", "generate-root"]`, "", everybody, everybody},
		{`enable_unauthenticated_access = "rekey"`, "", machine, everybody},
		{"", `disable_unauthed_generate_root_endpoints = false`, everybody, machine},
		{"", `disable_unauthed_generate_root_endpoints = true`, nobody, machine},
		{`enable_unauthenticated_access = ["generate-root", "rekey"]`, `disable_unauthed_rekey_endpoints = "true"`,
			everybody, nobody},
		{`enable_unauthenticated_access = []`, `disable_unauthed_rekey_endpoints = false`, machine, everybody},
	} {
		text := "storage \"inmem\" {}\n" + test.top + "\nlistener \"tcp\" {\ntls_disable = true\n" + test.listener + "\n}\n"
		got, warnings, err := Load([]string{write(t, "a.hcl", text)}, noEnv)
		if err != nil || len(warnings) != 0 {
			t.Errorf("%s\n%v, warnings %v", text, err, warnings)
			continue
		}
		if l := got.Listeners[0]; l.GenerateRoot != test.generateRoot || l.Rekey != test.rekey {
			t.Errorf("%s\ngenerate-root %v, rekey %v", text, l.GenerateRoot, l.Rekey)
		}
	}
}

func TestUnauthenticatedAccessToWhatIsNotThere(t *testing.T) {
	text := minimal + `enable_unauthenticated_access = ["generate-operation-token"]`
	_, warnings, err := Load([]string{write(t, "a.hcl", text)}, noEnv)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "enable_unauthenticated_access") {
		t.Errorf("%v, warnings %v", err, warnings)
	}
}
