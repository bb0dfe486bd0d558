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

		must(t, f.c, f.root, engines.Delete, "sys/auth/userpass", nil)
		if err := f.validate(id, f.code()); !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("its auth method gone: %v", err)
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
