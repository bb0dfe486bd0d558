package core_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/mfa"
	"coffer/storage/memory"
)

// factor is a server with the user "ann", who has an entity and a secret of a TOTP method.
type factor struct {
	t                        *testing.T
	c                        *core.Core
	root                     string
	accessor, entity, method string
	url                      string
}

func newFactor(t *testing.T) *factor {
	t.Helper()
	c, root := loginServer(t, memory.New())
	f := &factor{t: t, c: c, root: root}
	addUser(t, c, root, "ann")
	f.accessor = fmt.Sprint(must(t, c, root, engines.Read, "sys/auth/userpass", nil).Data["accessor"])
	f.entity = f.write("identity/entity", map[string]any{"name": "ann"}, "id")
	f.write("identity/entity-alias", map[string]any{"name": "ann", "canonical_id": f.entity, "mount_accessor": f.accessor}, "id")
	f.method = f.write("identity/mfa/method/totp", map[string]any{"issuer": "x", "method_name": "phone"}, "method_id")
	f.url = f.write("identity/mfa/method/totp/admin-generate",
		map[string]any{"method_id": f.method, "entity_id": f.entity}, "url")
	return f
}

func (f *factor) write(path string, params map[string]any, field string) string {
	f.t.Helper()
	return fmt.Sprint(must(f.t, f.c, f.root, engines.Update, path, params).Data[field])
}

func (f *factor) enforce(by string, what ...any) {
	f.t.Helper()
	must(f.t, f.c, f.root, engines.Update, "identity/mfa/login-enforcement/e",
		map[string]any{"mfa_method_ids": []any{f.method}, by: what})
}

func (f *factor) code() string {
	f.t.Helper()
	secret, _, _ := strings.Cut(f.url[strings.Index(f.url, "secret=")+len("secret="):], "&")
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	return code
}

// login logs in as a user with the right password.
func (f *factor) login(name string) *engines.Auth {
	f.t.Helper()
	return must(f.t, f.c, "", engines.Update, "auth/userpass/login/"+name, map[string]any{"password": "pw"}).Auth
}

// request logs in and returns the id of the request to finish it; "" when there is a token.
func (f *factor) request(name string) string {
	f.t.Helper()
	auth := f.login(name)
	if (auth.MFA == nil) == auth.Token.IsZero() {
		f.t.Fatalf("neither a token nor a requirement, or both: %+v", auth)
	}
	if auth.MFA == nil {
		return ""
	}
	return auth.MFA.RequestID
}

func (f *factor) validate(request, code string) error {
	resp, err := do(f.t.Context(), f.c, "", engines.Update, "sys/mfa/validate",
		map[string]any{"mfa_request_id": request, "mfa_payload": map[string]any{f.method: []any{code}}})
	if err == nil && resp.Auth.Token.IsZero() {
		f.t.Error("neither a token nor an error")
	}
	return err
}

// tokens are the accessors of all tokens.
func (f *factor) tokens() string {
	f.t.Helper()
	return fmt.Sprint(must(f.t, f.c, f.root, engines.List, "auth/token/accessors/", nil).Data["keys"])
}

func (f *factor) denied(what string, err error) {
	f.t.Helper()
	if !errors.Is(err, engines.ErrDenied) {
		f.t.Errorf("%s: %v", what, err)
	}
}

func TestSecondFactorIsAskedForByEachOfTheFour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		addUser(t, f.c, f.root, "bob")
		inner := f.write("identity/group", map[string]any{"name": "in", "member_entity_ids": []any{f.entity}}, "id")
		outer := f.write("identity/group", map[string]any{"name": "out", "member_group_ids": []any{inner}}, "id")
		for _, tt := range []struct {
			by, what string
			bob      bool // is asked as well
		}{
			{"auth_method_accessors", f.accessor, true}, {"auth_method_types", "userpass", true},
			{"identity_group_ids", inner, false}, {"identity_group_ids", outer, false}, {"identity_entity_ids", f.entity, false},
		} {
			f.enforce(tt.by, tt.what)
			id := f.request("ann")
			f.denied(tt.by, f.validate(id, "000000"))
			if err := f.validate(id, f.code()); err != nil {
				t.Errorf("%s: %v", tt.by, err)
			}
			if asked := f.request("bob") != ""; asked != tt.bob {
				t.Errorf("%s %s: bob is asked: %v", tt.by, tt.what, asked)
			}
			must(t, f.c, f.root, engines.Delete, "identity/mfa/login-enforcement/e", nil)
			if f.request("ann") != "" {
				t.Errorf("%s: asked without an enforcement", tt.by)
			}
			time.Sleep(time.Minute)
		}
		sealNow(t, f.c)
	})
}

func TestSecondFactorIsGoodForOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		f.enforce("auth_method_types", "userpass")
		first, second, code := f.request("ann"), f.request("ann"), f.code()
		if err := f.validate(first, code); err != nil {
			t.Fatal(err)
		}
		f.denied("a replayed code", f.validate(second, code))
		f.denied("with a space", f.validate(second, " "+code))
		if err := f.validate(first, f.code()); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("a replayed request: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if err := f.validate(second, f.code()); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("after five minutes: %v", err)
		}
		sealNow(t, f.c)
	})
}

func TestSecondFactorInTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		f.enforce("auth_method_types", "userpass")
		single := func(factors mfa.Factors) error {
			_, err := f.c.Handle(t.Context(), core.Call{ID: "id", Operation: engines.Update, Path: "auth/userpass/login/ann",
				Params: map[string]any{"password": "pw"}, Client: engines.Client{Addr: localhost}, Factors: factors})
			return err
		}
		f.denied("none of the method", single(mfa.Factors{"other": {"1"}}))
		f.denied("a wrong code", single(mfa.Factors{"phone": {"000000"}}))
		code := f.code()
		if err := single(mfa.Factors{"phone": {code}}); err != nil {
			t.Error(err)
		}
		f.denied("a replayed code", single(mfa.Factors{f.method: {code}}))
		sealNow(t, f.c)
	})
}

func TestLoginThatWaitsForItsSecondFactorLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		addUser(t, f.c, f.root, "new")
		f.enforce("auth_method_types", "userpass")
		count := func() string {
			n := ""
			for _, path := range []string{
				"identity/entity/id/", "identity/entity-alias/id/", "auth/token/accessors/", "sys/leases/lookup/auth/userpass/login/",
			} {
				resp, err := do(t.Context(), f.c, f.root, engines.List, path, nil)
				if err != nil && !errors.Is(err, engines.ErrNotFound) {
					t.Fatal(path, err)
				}
				if err == nil {
					n += fmt.Sprint(path, resp.Data["keys"], "\n")
				}
			}
			return n
		}
		before := count()
		f.denied("without a secret", f.validate(f.request("new"), f.code()))
		f.denied("a wrong code", f.validate(f.request("ann"), "000000"))
		if after := count(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		sealNow(t, f.c)
	})
}

func TestSecondFactorLooksAgainWhoMayComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		f.enforce("auth_method_types", "userpass")
		id := f.request("ann")
		must(t, f.c, f.root, engines.Update, "identity/entity/id/"+f.entity, map[string]any{"disabled": true})
		f.denied("disabled", f.validate(id, f.code()))
		must(t, f.c, f.root, engines.Update, "identity/entity/id/"+f.entity, map[string]any{"disabled": false})

		if _, err := do(t.Context(), f.c, f.root, engines.Delete, "identity/mfa/method/totp/"+f.method, nil); err == nil {
			t.Error("a method that is asked for is deleted")
		}
		must(t, f.c, f.root, engines.Update, "identity/mfa/method/totp/admin-destroy",
			map[string]any{"method_id": f.method, "entity_id": f.entity})
		f.denied("its secret destroyed", f.validate(id, f.code()))

		sealNow(t, f.c)
	})
}

// TestLoginThatWaitedIsRefusedWhenWhatItRestsOnHasChanged: the auth method is asked again, and nothing is left of the
// login.
func TestLoginThatWaitedIsRefusedWhenWhatItRestsOnHasChanged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(f *factor)
		kind   error
	}{
		{"deleted", func(f *factor) { must(f.t, f.c, f.root, engines.Delete, "auth/userpass/users/ann", nil) }, engines.ErrDenied},
		{"another password", func(f *factor) {
			must(f.t, f.c, f.root, engines.Update, "auth/userpass/users/ann/password", map[string]any{"password": "new"})
		}, engines.ErrDenied},
		{"other policies", func(f *factor) {
			must(f.t, f.c, f.root, engines.Update, "auth/userpass/users/ann", map[string]any{"token_policies": "fewer"})
		}, engines.ErrDenied},
		{"other networks", func(f *factor) {
			must(f.t, f.c, f.root, engines.Update, "auth/userpass/users/ann", map[string]any{"token_bound_cidrs": "10.0.0.0/8"})
		}, engines.ErrDenied},
		{"the entity deleted", func(f *factor) {
			must(f.t, f.c, f.root, engines.Delete, "identity/entity/id/"+f.entity, nil)
		}, engines.ErrFailed},
		{"the method disabled", func(f *factor) { must(f.t, f.c, f.root, engines.Delete, "sys/auth/userpass", nil) },
			engines.ErrFailed},
		{"the method disabled and enabled", func(f *factor) {
			must(f.t, f.c, f.root, engines.Delete, "sys/auth/userpass", nil)
			must(f.t, f.c, f.root, engines.Update, "sys/auth/userpass", map[string]any{"type": "userpass"})
			addUser(f.t, f.c, f.root, "ann")
		}, engines.ErrFailed},
		{"the method moved", func(f *factor) {
			must(f.t, f.c, f.root, engines.Update, "sys/remount", map[string]any{"from": "auth/userpass", "to": "auth/moved"})
			synctest.Wait()
		}, engines.ErrFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFactor(t)
				f.enforce("auth_method_types", "userpass")
				id := f.request("ann")
				tt.change(f)
				before := f.tokens()
				if err := f.validate(id, f.code()); !errors.Is(err, tt.kind) {
					t.Errorf("with the right code: %v", err)
				}
				if after := f.tokens(); after != before {
					t.Errorf("tokens before: %s, after: %s", before, after)
				}
				sealNow(t, f.c)
			})
		})
	}
}

// TestLoginThatWasWithdrawnWaitsNoMore: what changed back does not bring it back.
func TestLoginThatWasWithdrawnWaitsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		f.enforce("auth_method_types", "userpass")
		id := f.request("ann")
		must(t, f.c, f.root, engines.Update, "auth/userpass/users/ann", map[string]any{"token_policies": "fewer"})
		f.denied("changed", f.validate(id, f.code()))
		must(t, f.c, f.root, engines.Update, "auth/userpass/users/ann", map[string]any{"token_policies": ""})
		time.Sleep(time.Minute)
		if err := f.validate(id, f.code()); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("changed back: %v", err)
		}
		// Somebody else's change is none of ann's business.
		id = f.request("ann")
		addUser(t, f.c, f.root, "bob")
		if err := f.validate(id, f.code()); err != nil {
			t.Error(err)
		}
		sealNow(t, f.c)
	})
}

// TestRoleThatChangedWithdrawsItsWaitingLogins: of a secret id only one without limit can have been destroyed, for one
// with few uses is gone when it is spent.
func TestRoleThatChangedWithdrawsItsWaitingLogins(t *testing.T) {
	for _, tt := range []struct {
		name, uses string
		change     func(f *factor, secretID any)
		ok         bool
	}{
		{"nothing", "0", func(*factor, any) {}, true},
		{"the last use", "1", func(*factor, any) {}, true},
		{"one use of two", "2", func(*factor, any) {}, true},
		{"role deleted", "0", func(f *factor, _ any) {
			must(f.t, f.c, f.root, engines.Delete, "auth/approle/role/r", nil)
		}, false},
		{"policies", "1", func(f *factor, _ any) {
			must(f.t, f.c, f.root, engines.Update, "auth/approle/role/r", map[string]any{"token_policies": "fewer"})
		}, false},
		{"role id", "1", func(f *factor, _ any) {
			must(f.t, f.c, f.root, engines.Update, "auth/approle/role/r/role-id", map[string]any{"role_id": "other"})
		}, false},
		{"secret id destroyed", "0", func(f *factor, id any) {
			must(f.t, f.c, f.root, engines.Update, "auth/approle/role/r/secret-id/destroy", map[string]any{"secret_id": id})
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFactor(t)
				must(t, f.c, f.root, engines.Update, "auth/approle/role/r", map[string]any{"role_id": "r"})
				accessor := must(t, f.c, f.root, engines.Read, "sys/auth/approle", nil).Data["accessor"]
				f.write("identity/entity-alias",
					map[string]any{"name": "r", "canonical_id": f.entity, "mount_accessor": accessor}, "id")
				f.enforce("auth_method_types", "approle")
				secretID := must(t, f.c, f.root, engines.Update, "auth/approle/role/r/secret-id",
					map[string]any{"num_uses": tt.uses}).Data["secret_id"]
				auth := must(t, f.c, "", engines.Update, "auth/approle/login",
					map[string]any{"role_id": "r", "secret_id": secretID}).Auth
				tt.change(f, secretID)
				if err := f.validate(auth.MFA.RequestID, f.code()); (err == nil) != tt.ok {
					t.Error(err)
				} else if err != nil {
					f.denied(tt.name, err)
				}
				sealNow(t, f.c)
			})
		})
	}
}

// TestSecondFactorIsAskedForAfterAMerge: whom an enforcement names does not escape it by becoming part of another
// entity, nor of one that becomes part of a third.
func TestSecondFactorIsAskedForAfterAMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		f.enforce("identity_entity_ids", f.entity)
		merge := func(from, name string) string {
			to := f.write("identity/entity", map[string]any{"name": name}, "id")
			must(t, f.c, f.root, engines.Update, "identity/entity/merge",
				map[string]any{"from_entity_ids": []any{from}, "to_entity_id": to})
			return to
		}
		waits := f.request("ann")
		second := merge(f.entity, "second")
		f.denied("who logged in before the merge", f.validate(waits, f.code()))
		if f.request("ann") == "" {
			t.Error("not asked after the merge")
		}
		addUser(t, f.c, f.root, "bob")
		if f.request("bob") != "" {
			t.Error("somebody else is asked")
		}
		third := merge(second, "third")
		f.url = f.write("identity/mfa/method/totp/admin-generate", map[string]any{"method_id": f.method, "entity_id": third}, "url")
		id := f.request("ann")
		if id == "" {
			t.Fatal("not asked after the second merge")
		}
		time.Sleep(time.Minute)
		if err := f.validate(id, f.code()); err != nil {
			t.Errorf("with the code of the entity that is left: %v", err)
		}
		sealNow(t, f.c)
	})
}

// TestSecretIDIsSpentByTheFirstFactor: logins that wait do not share one use.
func TestSecretIDIsSpentByTheFirstFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFactor(t)
		f.enforce("auth_method_types", "approle")
		must(t, f.c, f.root, engines.Update, "auth/approle/role/r", map[string]any{"role_id": "r"})
		id := must(t, f.c, f.root, engines.Update, "auth/approle/role/r/secret-id", map[string]any{"num_uses": "1"}).Data["secret_id"]
		params := map[string]any{"role_id": "r", "secret_id": id}
		if auth := must(t, f.c, "", engines.Update, "auth/approle/login", params).Auth; auth.MFA == nil {
			t.Fatal("not asked")
		}
		if _, err := do(t.Context(), f.c, "", engines.Update, "auth/approle/login", params); err == nil {
			t.Error("one use is good for two")
		}
		sealNow(t, f.c)
	})
}
