// Package policies keeps the ACL policies of the server behind the barrier and hands out the compiled ACL
// of a set of policies, which every request asks for.
//
// A policy has one canonical name (policy.Canonicalize), and no other spelling reaches storage. See
// DESIGN.md.
package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coffer/engines"
	"coffer/policy"
	"coffer/storage"
)

// DefaultName is the policy that tokens get unless they ask not to.
const DefaultName = "default"

// Errors of the store; match them with errors.Is.
var (
	// ErrNotFound is returned by Get for a name without a policy.
	ErrNotFound = errors.New("policies: no such policy")
	// ErrReserved is returned by Set and Delete for a built-in policy that cannot be changed so.
	ErrReserved = errors.New("policies: the policy is built in")
)

// prefix is where the texts live behind the barrier, each under its name.
const prefix = "sys/policy/"

// Store keeps the policies. It is safe for concurrent use.
type Store struct {
	storage storage.Storage
	now     func() time.Time
	// builtin are the policies that cannot be changed, by name.
	builtin map[string]*policy.Policy
	cache   cache
}

// New opens the policies in store, which is the barrier from its root. A store without a default policy
// gets one. now is the clock of templates that name the time.
func New(ctx context.Context, store storage.Storage, now func() time.Time) (*Store, error) {
	s := &Store{storage: store, now: now, builtin: make(map[string]*policy.Policy)}
	for _, p := range []*policy.Policy{policy.Root(), policy.ResponseWrapping(), policy.ControlGroup()} {
		s.builtin[p.Name] = p
	}
	s.cache.reset()
	_, err := store.Get(ctx, prefix+DefaultName)
	if errors.Is(err, storage.ErrNotFound) {
		err = store.Apply(ctx, storage.Put(prefix+DefaultName, []byte(policy.Default().Text)))
	}
	if err != nil {
		return nil, fmt.Errorf("policies: %s%s: %w", prefix, DefaultName, err)
	}
	return s, nil
}

// List returns the names of the policies in Vault's order: sorted, those in folders after the others, and
// "root" at the end.
func (s *Store) List(ctx context.Context) ([]string, error) {
	names, err := storage.Names(ctx, s.storage, prefix)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return append(names, policy.RootName), nil
}

// Get returns the policy called name, which need not be canonical; ErrNotFound or policy.ErrName.
func (s *Store) Get(ctx context.Context, name string) (*policy.Policy, error) {
	name, err := policy.Canonicalize(name)
	if err != nil {
		return nil, err
	}
	return s.load(ctx, name)
}

func (s *Store) load(ctx context.Context, name string) (*policy.Policy, error) {
	if p, ok := s.builtin[name]; ok {
		return p, nil
	}
	text, err := s.storage.Get(ctx, prefix+name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("policies: read %s%s: %w", prefix, name, err)
	}
	p, err := policy.Parse(name, string(text))
	if err != nil {
		return nil, fmt.Errorf("policies: parse %s%s: %w", prefix, name, err)
	}
	return p, nil
}

// Exists reports whether there is a policy called name.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	_, err := s.Get(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, policy.ErrName):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// Set stores a policy under the canonical form of name. It returns ErrReserved, policy.ErrName, or an
// engines.ErrInvalid for a text that is not a policy; nothing is changed then.
func (s *Store) Set(ctx context.Context, name, text string) error {
	name, err := policy.Canonicalize(name)
	if err != nil {
		return err
	}
	if _, ok := s.builtin[name]; ok {
		return ErrReserved
	}
	if _, err := policy.Parse(name, text); err != nil {
		return engines.Invalid("%v", err)
	}
	return s.apply(ctx, storage.Put(prefix+name, []byte(text)))
}

// Delete removes a policy; one that does not exist is no error. It returns ErrReserved or policy.ErrName.
func (s *Store) Delete(ctx context.Context, name string) error {
	name, err := policy.Canonicalize(name)
	if err != nil {
		return err
	}
	if _, ok := s.builtin[name]; ok || name == DefaultName {
		return ErrReserved
	}
	return s.apply(ctx, storage.Delete(prefix+name))
}

// apply makes one change and forgets every compiled ACL, also after an error: the change may have
// been written.
func (s *Store) apply(ctx context.Context, op storage.Op) error {
	defer s.cache.reset()
	if err := s.storage.Apply(ctx, op); err != nil {
		return fmt.Errorf("policies: write %s: %w", op.Key, err)
	}
	return nil
}

// Subject is who identity says holds a token.
type Subject interface {
	// Policies are the names that identity adds to the token's own.
	Policies() []string
	// Revision is above zero, and another one for each subject that has other policies or values.
	Revision() uint64
	// Value is a policy.Lookup for the selectors that begin with "identity.".
	Value(selector string) (string, error)
}

// ACL returns the compiled union of the named policies for a token without an entity. Names without a
// policy grant nothing. The caller keeps names; asking again for the same names in the same order allocates
// nothing.
func (s *Store) ACL(ctx context.Context, names []string) (*policy.ACL, error) {
	current := s.cache.current.Load()
	if acl, ok := current.find(names, 0); ok {
		return acl, nil
	}
	v := values{now: s.now}
	acl, err := s.compile(ctx, names, v.lookup)
	if err == nil && !v.timed {
		s.cache.add(current, names, 0, acl)
	}
	return acl, err
}

// ACLOf is ACL for the token of an entity: with the policies that identity adds, but for root, and with the
// entity's values in the place of selectors.
func (s *Store) ACLOf(ctx context.Context, names []string, who Subject) (*policy.ACL, error) {
	current := s.cache.current.Load()
	if acl, ok := current.find(names, who.Revision()); ok {
		return acl, nil
	}
	v := values{who: who, now: s.now}
	added := slices.DeleteFunc(slices.Clone(who.Policies()), isRoot)
	acl, err := s.compile(ctx, slices.Concat(names, added), v.lookup)
	if err == nil && !v.timed {
		s.cache.add(current, names, who.Revision(), acl)
	}
	return acl, err
}

// isRoot finds the root policy under every name that compile would take for it.
func isRoot(name string) bool {
	canonical, err := policy.Canonicalize(name)
	return err == nil && canonical == policy.RootName
}

func (s *Store) compile(ctx context.Context, names []string, lookup policy.Lookup) (*policy.ACL, error) {
	unique := make([]string, 0, len(names))
	for _, name := range names {
		canonical, err := policy.Canonicalize(name)
		if err != nil {
			continue
		}
		unique = append(unique, canonical)
	}
	slices.Sort(unique)
	unique = slices.Compact(unique)
	parsed := make([]*policy.Policy, 0, len(unique))
	for _, name := range unique {
		p, err := s.load(ctx, name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err == nil {
			p, err = p.Expand(lookup)
		}
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, p)
	}
	return policy.Compile(parsed...), nil
}

// values answers the selectors of templated policies.
type values struct {
	who Subject // nil for a token without an entity
	now func() time.Time
	// timed is set once a value was one of the present moment.
	timed bool
}

func (v *values) lookup(selector string) (string, error) {
	if strings.HasPrefix(selector, "time.") {
		v.timed = true
		return policy.TimeValue(selector, v.now())
	}
	if v.who == nil {
		return "", policy.ErrNoValue
	}
	return v.who.Value(selector)
}
