package leases

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"coffer/engines"
	"coffer/storage/memory"
)

// meanwhile does something while an engine renews.
type meanwhile struct {
	*fakeSecrets
	do func(Lease)
}

func (m meanwhile) RenewSecret(_ context.Context, l Lease, _ time.Duration) (engines.LeaseGrant, error) {
	m.do(l)
	return engines.LeaseGrant{TTL: time.Hour}, nil
}

func TestRenewalDoesNotUndoARevocation(t *testing.T) {
	for name, revoke := range map[string]func(context.Context, *Manager, Lease) error{
		"of the lease": func(ctx context.Context, m *Manager, l Lease) error { return m.RevokeLater(ctx, l.ID) },
		"of its token": func(ctx context.Context, m *Manager, l Lease) error {
			ops, done, err := m.RemoveToken(ctx, "", l.Secret.Token)
			if err == nil {
				err = m.store.Apply(ctx, ops...)
				done()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := &fakeSecrets{revoked: map[string]time.Time{}}
				m := New(Config{Storage: memory.New()})
				ctx, cancel := context.WithCancel(t.Context())
				defer func() { cancel(); m.Wait() }()
				m.Start(ctx, fakeTokens{"a": true}, meanwhile{fake, func(l Lease) {
					if err := revoke(ctx, m, l); err != nil {
						t.Error(err)
					}
				}})
				l, err := m.Register(ctx, Secret{Path: "db/creds/x", Token: "a", TTL: time.Minute}, true)
				if err != nil {
					t.Fatal(err)
				}
				_, _, _ = m.Renew(ctx, l.ID, 0)
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				if fake.at(l.ID).IsZero() {
					t.Error("the secret lives half an hour after its revocation was answered")
				}
			})
		})
	}
}
