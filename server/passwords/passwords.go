// Package passwords keeps the password policies of the server behind the barrier and makes passwords by them, for
// operators at sys/policies/password and for the engines that set passwords elsewhere. See DESIGN.md.
package passwords

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"coffer/engines"
	"coffer/policy"
	"coffer/storage"
)

// ErrNotFound is returned by Get for a name without a policy.
var ErrNotFound = errors.New("passwords: no such policy")

// prefix is where the policies live behind the barrier, each under its name. What is below core/ cannot be replaced by
// an older value.
const prefix = "core/password-policy/"

// record is a policy as it is stored.
type record struct {
	Text    string `json:"text"`
	Entropy string `json:"entropy,omitempty"`
}

// Store keeps the policies. It is safe for concurrent use.
type Store struct{ storage storage.Storage }

// New returns the policies in store, which is the barrier from its root.
func New(store storage.Storage) *Store { return &Store{storage: store} }

var _ engines.Passwords = (*Store)(nil)

// List returns the names of the policies in Vault's order: sorted, those in folders after the others.
func (s *Store) List(ctx context.Context) ([]string, error) {
	names, err := storage.Names(storage.LeaveOut(ctx), s.storage, prefix)
	if err != nil {
		return nil, fmt.Errorf("passwords: %w", err)
	}
	return names, nil
}

// Get returns the policy of a name; ErrNotFound, or policy.ErrName for what can be no name.
func (s *Store) Get(ctx context.Context, name string) (*Policy, error) {
	if err := policy.CheckName(name); err != nil {
		return nil, err
	}
	raw, err := s.storage.Get(ctx, prefix+name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("passwords: read %s%s: %w", prefix, name, err)
	}
	p, err := decode(raw)
	if err != nil {
		err = fmt.Errorf("passwords: %s%s: %w: %s", prefix, name, storage.ErrDamaged, err.Error()) // no fault of the client
		storage.SetAside(s.storage, prefix+name, err)
		return nil, err
	}
	return p, nil
}

func decode(raw []byte) (*Policy, error) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	p, err := Parse(r.Text)
	if err != nil {
		return nil, err
	}
	p.Entropy = r.Entropy
	return p, nil
}

// Set stores a policy that Parse and Policy.Check have found good. It returns policy.ErrName for what can be no name.
func (s *Store) Set(ctx context.Context, name string, p *Policy) error {
	if err := policy.CheckName(name); err != nil {
		return err
	}
	raw, err := json.Marshal(record{Text: p.Text, Entropy: p.Entropy})
	if err != nil {
		return fmt.Errorf("passwords: %s%s: %w", prefix, name, err)
	}
	return s.apply(ctx, storage.Put(prefix+name, raw))
}

// Delete removes a policy; one that does not exist is no error. It returns policy.ErrName for what can be no name.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := policy.CheckName(name); err != nil {
		return err
	}
	return s.apply(ctx, storage.Delete(prefix+name))
}

func (s *Store) apply(ctx context.Context, op storage.Op) error {
	if err := s.storage.Apply(ctx, op); err != nil {
		return fmt.Errorf("passwords: write %s: %w", op.Key, err)
	}
	return nil
}

// Password implements engines.Passwords.
func (s *Store) Password(ctx context.Context, name string) (string, error) {
	p, err := s.Get(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, policy.ErrName):
		return "", engines.Invalid("there is no password policy %q: write it to sys/policies/password/, or name another one",
			name)
	case err != nil:
		return "", err
	}
	password, err := p.Generate()
	if err != nil {
		return "", engines.Failed("no password by the password policy %q: %v", name, err)
	}
	return password, nil
}
