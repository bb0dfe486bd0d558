package policy_test

import (
	"fmt"
	"log"
	"time"

	"coffer/policy"
)

// A token's policies are compiled into one ACL; a deny holds whatever another policy grants.
func ExampleCompile() {
	readers, err := policy.Parse("readers", `path "secret/data/app/*" { capabilities = ["read"] }`)
	if err != nil {
		log.Fatal(err)
	}
	noPasswords, err := policy.Parse("no-passwords", `path "secret/data/app/password" { capabilities = ["deny"] }`)
	if err != nil {
		log.Fatal(err)
	}
	acl := policy.Compile(readers, noPasswords)
	for _, path := range []string{"secret/data/app/config", "secret/data/app/password", "secret/data/other"} {
		decision := acl.Decide(policy.Request{Capability: policy.Read, Path: path, Now: time.Now()})
		fmt.Println(path, decision.Allowed)
	}
	// Output:
	// secret/data/app/config true
	// secret/data/app/password false
	// secret/data/other false
}
