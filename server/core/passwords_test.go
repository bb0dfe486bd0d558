package core_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/mounts"
	"coffer/storage/memory"
)

// passwordEngine makes passwords by the policy that a request names.
type passwordEngine struct{ passwords engines.Passwords }

func (e passwordEngine) Routes() *engines.Routes {
	return engines.Compile(engines.Path("{policy}", "", engines.OnRead(e.password)))
}

type passwordParams struct {
	Policy string `path:"policy" help:"Name of the policy."`
}

func (e passwordEngine) password(ctx context.Context, _ *engines.Request, p passwordParams) (*engines.Response, error) {
	password, err := e.passwords.Password(ctx, p.Policy)
	return &engines.Response{Data: map[string]any{"password": password}}, err
}

// Engines and auth methods make passwords by the policies that sys/policies/password has.
func TestPasswordsOfEngines(t *testing.T) {
	factory := func(_ context.Context, cfg engines.Config) (engines.Engine, error) {
		return passwordEngine{cfg.Passwords}, nil
	}
	c := core.New(core.Config{
		Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		Types: map[mounts.Kind]map[string]engines.Factory{mounts.Secret: {"kv": factory, "db": factory}},
		Settings: core.Settings{DefaultLeaseTTL: time.Hour, MaxLeaseTTL: time.Hour, StorageType: "inmem",
			LogLevel: new(slog.LevelVar)},
	})
	_, token, err := c.InitDev(t.Context(), engines.Token{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	root := token.Reveal()
	must(t, c, root, engines.Update, "sys/mounts/db", map[string]any{"type": "db"})
	_, err = do(t.Context(), c, root, engines.Read, "db/p", nil)
	if !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("without the policy: %v", err)
	}
	must(t, c, root, engines.Update, "sys/policies/password/p", map[string]any{"policy": onlyAs})
	resp, err := do(t.Context(), c, root, engines.Read, "db/p", nil)
	if err != nil || resp.Data["password"] != "aaaa" {
		t.Errorf("got %v, %v", resp, err)
	}
}

const onlyAs = "length = 4\nrule \"charset\" { charset = \"a\" }"
