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
	"sync/atomic"
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
	// ErrLost is returned by ACL and ACLOf when a policy cannot be read that may deny: the token may do nothing. It is a
	// storage.ErrDamaged.
	ErrLost = fmt.Errorf("policies: a policy of the token cannot be read: %w", storage.ErrDamaged)
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
	// unnamed is set while there is a policy whose name cannot be read: it may be any that is not there.
	unnamed atomic.Bool
}

// New opens the policies in store, which is the barrier from its root. A store without a default policy
// gets one. now is the clock of templates that name the time.
func New(ctx context.Context, store storage.Storage, now func() time.Time) (*Store, error) {
	s := &Store{storage: store, now: now, builtin: make(map[string]*policy.Policy)}
	for _, p := range []*policy.Policy{policy.Root(), policy.ResponseWrapping(), policy.ControlGroup()} {
		s.builtin[p.Name] = p
	}
	s.cache.reset()
	return s, s.Reread(ctx)
}

// Reread looks for policies whose names cannot be read, makes the default policy if there is none, and forgets every
// compiled ACL: something was lost for good, or New opens the store.
func (s *Store) Reread(ctx context.Context) error {
	defer s.cache.reset()
	_, err := storage.Names(ctx, s.storage, prefix)
	unnamed := errors.Is(err, storage.ErrDamaged)
	if err != nil && !unnamed {
		return fmt.Errorf("policies: %w", err)
	}
	s.unnamed.Store(unnamed)
	_, err = s.storage.Get(ctx, prefix+DefaultName)
	if errors.Is(err, storage.ErrNotFound) && !unnamed {
		err = s.storage.Apply(ctx, storage.Put(prefix+DefaultName, []byte(policy.Default().Text)))
	}
	if err != nil && !errors.Is(err, storage.ErrDamaged) && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("policies: %s%s: %w", prefix, DefaultName, err)
	}
	return nil
}

// List returns the names of the policies in Vault's order: sorted, those in folders after the others, and
// "root" at the end.
func (s *Store) List(ctx context.Context) ([]string, error) {
	names, err := storage.Names(storage.LeaveOut(ctx), s.storage, prefix)
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
		err = fmt.Errorf("policies: parse %s%s: %w: %w", prefix, name, storage.ErrDamaged, err)
		storage.SetAside(s.storage, prefix+name, err)
		return nil, err
	}
	return p, nil
}

// Exists reports whether there is a policy called name.
func (s *Store) Exists(ctx context.Context, name string) (bool, error) {
	_, err := s.Get(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, policy.ErrName):
		return false, nil
	case errors.Is(err, storage.ErrDamaged):
		return true, nil // there is one, though nobody can read it
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
	// Uncertain is set while a group cannot be read that the subject may be in: it is held to every policy there is.
	Uncertain() bool
}

// ACL returns the compiled union of the named policies for a token without an entity. Names without a policy grant
// nothing. A policy that cannot be read is ErrLost, whatever the others say. The caller keeps names; asking again for
// the same names in the same order allocates nothing.
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
	if err == nil && who.Uncertain() {
		acl, err = s.restricted(ctx, acl, v.lookup)
	}
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

// restricted returns what an ACL permits whichever policies are added to it.
func (s *Store) restricted(ctx context.Context, acl *policy.ACL, lookup policy.Lookup) (*policy.ACL, error) {
	names, err := storage.Names(ctx, s.storage, prefix)
	if errors.Is(err, storage.ErrDamaged) {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	all := make([]*policy.ACL, 0, len(names))
	for _, name := range names {
		p, err := s.load(ctx, name)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case errors.Is(err, storage.ErrDamaged):
			return nil, fmt.Errorf("%w: %w", ErrLost, err)
		case err != nil:
			return nil, err
		}
		if p, err = p.Expand(lookup); err != nil {
			return nil, err
		}
		all = append(all, policy.Compile(p))
	}
	return acl.Restricted(all), nil
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
		switch {
		case errors.Is(err, ErrNotFound) && s.unnamed.Load():
			return nil, fmt.Errorf("%w: %q is not there, and the name of another cannot be read", ErrLost, name)
		case errors.Is(err, ErrNotFound):
			continue
		case errors.Is(err, storage.ErrDamaged):
			return nil, fmt.Errorf("%w: %w", ErrLost, err)
		case err != nil:
			return nil, err
		}
		if p, err = p.Expand(lookup); err != nil {
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
	value, err := v.who.Value(selector)
	if errors.Is(err, policy.ErrNoValue) && v.who.Uncertain() && strings.HasPrefix(selector, "identity.groups.") {
		err = policy.ErrUnknown
	}
	return value, err
}
