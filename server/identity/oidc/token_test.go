package oidc

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	"coffer/engines"
	"coffer/server/identity"
	"coffer/storage/memory"
)

// Numbers that no float holds are the same in the token.
func TestTokensKeepNumbers(t *testing.T) {
	f := openFixture(t, memory.New())
	f.do(engines.Update, "key/k", params{"algorithm": "EdDSA"})
	f.do(engines.Update, "role/r", params{"key": "k", "ttl": "1h", "template": `{"n": 123456789012345678, "o": {"f": [0.10000000000000000555] } }`})
	_, rest, _ := strings.Cut(f.sign("r"), ".")
	payload, err := base64.RawURLEncoding.DecodeString(rest[:strings.IndexByte(rest, '.')])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"n":123456789012345678,`, `"o":{"f":[0.10000000000000000555]}`} {
		if !strings.Contains(string(payload), want) {
			t.Errorf("%s is not in %s", want, payload)
		}
	}
}

func TestRelativeIssuersAreWarnedOfOnce(t *testing.T) {
	for address, want := range map[string]int{"": 1, address: 0} {
		var log strings.Builder
		s, err := New(t.Context(), Config{Storage: memory.New(), Holders: anybody{}, Address: address,
			Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, Wall: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		f := fixtureOf(t, s)
		f.do(engines.Update, "key/k", params{"algorithm": "EdDSA", "allowed_client_ids": []any{"*"}})
		f.do(engines.Update, "role/r", params{"key": "k", "ttl": "1h"})
		if log.Len() > 0 {
			t.Errorf("at %q before a token was signed: %s", address, &log)
		}
		f.do(engines.Read, "token/r", nil)
		f.do(engines.Read, "token/r", nil)
		f.do(engines.Read, ".well-known/openid-configuration", nil)
		if got := strings.Count(log.String(), "level=WARN"); got != want || got > 0 && !strings.Contains(log.String(), "api_addr") {
			t.Errorf("at %q: %d warnings, want %d: %s", address, got, want, &log)
		}
	}
}

// anybody holds any token.
type anybody struct{}

func (anybody) Holder(context.Context, string) (*identity.Holder, error) {
	return identity.Nobody(), nil
}
