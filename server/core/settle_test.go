package core_test

import (
	"errors"
	"testing"

	"coffer/engines"
	"coffer/server/ceremony"
	"coffer/server/core"
	"coffer/storage/memory"
)

// again asks for another initialisation.
func again(t *testing.T, c *core.Core, standing core.Standing, params map[string]any) (ceremony.InitResult, error) {
	t.Helper()
	answer, err := c.Init(t.Context(), core.Call{Params: params, Standing: standing})
	result, _ := answer.(ceremony.InitResult)
	return result, err
}

// TestInitIsAskedAgain: the answer of the first was lost. Who sits at the machine gets another, until the first was used.
func TestInitIsAskedAgain(t *testing.T) {
	params := map[string]any{"secret_shares": "1", "secret_threshold": "1"}
	c := newCore(memory.New())
	lost, err := again(t, c, core.Stranger, params)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again(t, c, core.Stranger, params); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("a stranger: %v", err)
	}
	c.InitAnswered(t.Context())
	if _, err := again(t, c, core.AtMachine, params); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("after the answer: %v", err)
	}
	params["again"] = true
	if _, err := again(t, c, core.Stranger, params); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("a stranger: %v", err)
	}
	found, err := again(t, c, core.AtMachine, params)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unsealBy(t, c, lost.Keys[0], false); err == nil {
		t.Error("the lost key opens")
	}
	if _, err := unsealBy(t, c, found.Keys[0], false); err != nil || c.Sealed() {
		t.Fatalf("the new key: %v", err)
	}
	must(t, c, found.RootToken, engines.Read, "auth/token/lookup-self", nil)
	for range 2 {
		if _, err := again(t, c, core.AtMachine, params); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("after the first unsealing: %v", err)
		}
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInitIsAskedAgainUnderAnAutoSeal: such a server opens at once. The first token that is used settles it.
func TestInitIsAskedAgainUnderAnAutoSeal(t *testing.T) {
	files := newKeyFiles("one")
	c, _ := sealedCore(t, memory.New(), files.seal("one"))
	params := map[string]any{"recovery_shares": "1", "recovery_threshold": "1"}
	lost := initCore(t, c, params)
	if _, err := again(t, c, core.AtMachine, map[string]any{"recovery_shares": "0"}); err == nil || c.Sealed() {
		t.Fatalf("with bad parameters: %v, sealed %v", err, c.Sealed())
	}
	if _, err := do(t.Context(), c, "nobody", engines.Read, "auth/token/lookup-self", nil); err == nil {
		t.Fatal("a worthless token")
	}
	found, err := again(t, c, core.AtMachine, params)
	if err != nil || c.Sealed() {
		t.Fatalf("%v, sealed %v", err, c.Sealed())
	}
	if _, err := do(t.Context(), c, lost.RootToken, engines.Read, "auth/token/lookup-self", nil); err == nil {
		t.Error("the lost root token is good")
	}
	must(t, c, found.RootToken, engines.Read, "auth/token/lookup-self", nil)
	if _, err := again(t, c, core.AtMachine, params); !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("after a token was used: %v", err)
	}
	must(t, c, found.RootToken, engines.Read, "auth/token/lookup-self", nil)
	if err := c.Seal(); err != nil {
		t.Fatal(err)
	}
}

// TestUnsealingEndsTheFormerShares by the new ones; the former ones leave themselves good.
func TestUnsealingEndsTheFormerShares(t *testing.T) {
	c, old, _ := server(t, memory.New())
	call := func(params map[string]any) core.Call { return core.Call{Params: params, Standing: core.AtMachine} }
	started := fieldsOf(t)(c.Rekey().Start(t.Context(), call(map[string]any{"secret_shares": "1", "secret_threshold": "1"})))
	done := fieldsOf(t)(c.Rekey().Update(t.Context(), call(map[string]any{"nonce": started["nonce"], "key": old})))
	keys, _ := done["keys"].([]any)
	renewed, _ := keys[0].(string)
	for _, step := range []struct {
		key    string
		opens  bool
		former bool // afterwards
	}{{old, true, true}, {old, true, true}, {renewed, true, false}, {old, false, false}, {renewed, true, false}} {
		if err := c.Seal(); err != nil {
			t.Fatal(err)
		}
		status, err := unsealBy(t, c, step.key, false)
		if (err == nil) != step.opens || c.Sealed() == step.opens {
			t.Fatalf("%+v: %v", step, err)
		}
		if err == nil && status.FormerShares != step.former {
			t.Errorf("%+v: %+v", step, status)
		}
	}
}
