package core_test

import (
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/core"
	"coffer/storage/memory"
)

// TestNothingIsWrappedForNobody: a stranger cannot make the server store anything by asking for wrapping. A login is
// wrapped.
func TestNothingIsWrappedForNobody(t *testing.T) {
	store := memory.New()
	c, root := loginServer(t, store)
	addUser(t, c, root, "me")
	call := func(token string, op engines.Operation, path string, params map[string]any) *engines.Response {
		reply, err := c.Handle(t.Context(), core.Call{ID: "id", Operation: op, Path: path, Params: params,
			Token: engines.NewToken(token), Client: engines.Client{Addr: localhost}, WrapTTL: time.Minute})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return reply.Response
	}
	before := len(store.Contents())
	for _, path := range []string{"sys/internal/ui/mounts", "sys/internal/ui/feature-flags", "sys/replication/status",
		"identity/oidc/.well-known/keys", "identity/oidc/.well-known/openid-configuration"} {
		if resp := call("", engines.Read, path, nil); resp.Wrap != nil {
			t.Errorf("%s is wrapped for nobody", path)
		}
	}
	if after := len(store.Contents()); after != before {
		t.Errorf("%d records were stored for nobody", after-before)
	}
	if resp := call(root, engines.Read, "sys/internal/ui/mounts", nil); resp.Wrap == nil {
		t.Error("nothing is wrapped for a token")
	}
	if resp := call("", engines.Update, "auth/userpass/login/me", map[string]any{"password": "pw"}); resp.Wrap == nil {
		t.Error("a login is not wrapped")
	}
}

// TestWrappingTokenLivesNoLongerThanALease bounds how long the server keeps what was wrapped.
func TestWrappingTokenLivesNoLongerThanALease(t *testing.T) {
	c, _, root := server(t, memory.New())
	for asked, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, 1_000_000 * time.Hour: 768 * time.Hour} {
		for _, path := range []string{"sys/mounts", "sys/wrapping/wrap"} {
			op := engines.Read
			if path != "sys/mounts" {
				op = engines.Update
			}
			reply, err := c.Handle(t.Context(), core.Call{ID: "id", Operation: op, Path: path,
				Token: engines.NewToken(root), Client: engines.Client{Addr: localhost}, WrapTTL: asked})
			if err != nil || reply.Response.Wrap.TTL != want {
				t.Errorf("%s for %s: %+v, %v", path, asked, reply.Response, err)
			}
		}
	}
}
