package sys_test

import (
	"errors"
	"strings"
	"testing"

	"coffer/server/passwords"
	"coffer/storage/storagetest"
)

const onlyAs = `{"policy":"length = 4\nrule \"charset\" { charset = \"a\" }"}`

func TestPasswordPolicies(t *testing.T) {
	b := newBench(t)
	b.run([]step{
		{`LIST policies/password`, `404`},
		{`POST policies/password/App ` + onlyAs, `204`},
		{`POST policies/password/team/app ` + onlyAs, `204`},
		{`LIST policies/password`, `{"keys":["App","team/app"]}`},
		{`GET policies/password/App/generate`, `{"password":"aaaa"}`},
		{`GET policies/password/team/app/generate`, `{"password":"aaaa"}`},
		{`GET policies/password/app/generate`, "404 1 error occurred:\n\t* policy does not exist\n\n"},
		{`GET policies/password/a..b`, "400 1 error occurred:\n\t* relative paths not supported\n\n"},
		{`POST policies/password/a..b ` + onlyAs, "400 1 error occurred:\n\t* relative paths not supported\n\n"},
		{`DELETE policies/password/a..b`, "400 1 error occurred:\n\t* relative paths not supported\n\n"},
		{`POST policies/password/a//b ` + onlyAs, "400 1 error occurred:\n\t* invalid policy name: not a clean path\n\n"},
		{`DELETE policies/password/App`, `204`},
		{`GET policies/password/App`, "404 1 error occurred:\n\t* policy does not exist\n\n"},
	})
}

// A misspelt key must not weaken a policy without a word.
func TestUnknownKeysOfAPasswordPolicy(t *testing.T) {
	b := newBench(t)
	resp, err := b.do(`POST policies/password/p {"policy":"length = 4\nrule \"charset\" {\n charset = \"a\"\n min_chars = 2\n}"}`)
	const want = `"min_chars" is no part of a password policy and has no effect`
	if err != nil || strings.Join(resp.Warnings, "; ") != want {
		t.Errorf("%v, %v; want the warning %q", resp, err, want)
	}
}

func TestFaultsOfPasswordPolicies(t *testing.T) {
	b := newBench(t)
	b.run([]step{{`POST policies/password/p ` + onlyAs, `204`}})
	faulty := storagetest.NewFaulty(b.base)
	b.cfg.Passwords = passwords.New(faulty)
	b.open()
	for _, tt := range []struct {
		kind storagetest.Call
		line string
	}{
		{storagetest.Get, `GET policies/password/p`}, {storagetest.Get, `GET policies/password/p/generate`},
		{storagetest.List, `LIST policies/password`}, {storagetest.Apply, `DELETE policies/password/p`},
		{storagetest.Apply, `POST policies/password/p ` + onlyAs},
	} {
		faulty.Fail(tt.kind, 1, storagetest.NotWritten)
		if _, err := b.do(tt.line); !errors.Is(err, storagetest.ErrInjected) {
			t.Errorf("%s: %v", tt.line, err)
		}
	}
	b.run([]step{{`GET policies/password/p/generate`, `{"password":"aaaa"}`}})
}
