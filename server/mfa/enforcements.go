package mfa

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"coffer/engines"
	"coffer/storage"
)

// enforcementName is what a name in a path may look like; anything else is no such path.
var enforcementName = regexp.MustCompile(`^\w(([\w.-]+)?\w)?$`)

type nameParams struct {
	Name string `path:"name" help:"Name of the enforcement."`
}

func (e *enforcement) data() map[string]any {
	return map[string]any{
		"name": e.Name, "id": e.ID, "namespace_id": rootNamespace, "namespace_path": "", "mfa_method_ids": some(e.Methods),
		"auth_method_accessors": some(e.Accessors), "auth_method_types": some(e.Types),
		"identity_group_ids": some(e.Groups), "identity_entity_ids": some(e.Entities),
	}
}

// some is a list that is not null.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *Store) listEnforcements(
	ctx context.Context, _ *engines.Request, _ engines.NoParams,
) (*engines.Response, error) {
	info := make(map[string]any)
	err := s.view(ctx, func() {
		for name, e := range s.enforcements {
			info[name] = e.data()
		}
	})
	if err != nil {
		return nil, err
	}
	return listWithInfo(info)
}

func (s *Store) readEnforcement(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if !enforcementName.MatchString(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	var e *enforcement
	var lost bool
	if err := s.view(ctx, func() { e, lost = s.enforcements[p.Name], s.lostEnforcements[p.Name] }); err != nil {
		return nil, err
	}
	switch {
	case e == nil && lost:
		return nil, errLost
	case e == nil:
		return nil, engines.NotFound()
	}
	return &engines.Response{Data: e.data()}, nil
}

type enforcementParams struct {
	nameParams

	Methods   *[]string `param:"mfa_method_ids" help:"Methods one of which is needed."`
	Accessors *[]string `param:"auth_method_accessors" help:"Logins at these mounts."`
	Types     *[]string `param:"auth_method_types" help:"Logins at mounts of these types."`
	Groups    *[]string `param:"identity_group_ids" help:"Logins of members of these groups."`
	Entities  *[]string `param:"identity_entity_ids" help:"Logins of these entities."`
}

func (s *Store) writeEnforcement(
	ctx context.Context, _ *engines.Request, p enforcementParams,
) (*engines.Response, error) {
	if !enforcementName.MatchString(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	err := s.change(ctx, func() ([]storage.Op, func(), error) {
		e := &enforcement{Name: p.Name, ID: uuid.NewString()}
		if old := s.enforcements[p.Name]; old != nil {
			*e = *old
		} else if len(s.enforcements) >= maxMethods {
			return nil, nil, engines.Invalid("there are %d enforcements already", maxMethods)
		}
		if err := s.fill(ctx, e, &p); err != nil {
			return nil, nil, err
		}
		b, err := encode(e)
		return []storage.Op{storage.Put(enforcementFolder+e.Name, b)}, func() {
			s.enforcements[e.Name] = e
			delete(s.lostEnforcements, e.Name)
		}, err
	})
	return &engines.Response{}, err
}

// fill puts the parameters into an enforcement after it made sure that what they name exists. The caller holds
// changing.
func (s *Store) fill(ctx context.Context, e *enforcement, p *enforcementParams) error {
	if p.Methods == nil {
		return engines.Invalid("missing method ids")
	}
	mounts := s.cfg.Mounts.AuthMounts()
	parts := []struct {
		given   *[]string
		to      *[]string
		known   func(string) (bool, error)
		refusal string
	}{
		{p.Methods, &e.Methods, func(id string) (bool, error) { return s.methods[id] != nil, nil },
			"one of the provided method ids doesn't exist"},
		{p.Accessors, &e.Accessors, func(accessor string) (bool, error) {
			return slices.ContainsFunc(mounts, func(m engines.Mount) bool { return m.Accessor == accessor }), nil
		}, "one of the auth method accessors provided is invalid"},
		{p.Types, &e.Types, func(typ string) (bool, error) {
			return slices.ContainsFunc(mounts, func(m engines.Mount) bool { return m.Type == typ }), nil
		}, "one of the auth method types provided is invalid"},
		{p.Groups, &e.Groups, func(id string) (bool, error) { return s.cfg.Identities.HasGroup(ctx, id) },
			"one of the provided group ids doesn't exist"},
		{p.Entities, &e.Entities, func(id string) (bool, error) { return s.cfg.Identities.HasEntity(ctx, id) },
			"one of the provided entity ids doesn't exist"},
	}
	for _, part := range parts {
		if part.given == nil {
			continue
		}
		if len(*part.given) > maxMethods {
			return engines.Invalid("a list has more than %d entries", maxMethods)
		}
		for _, name := range *part.given {
			switch ok, err := part.known(name); {
			case err != nil:
				return err
			case !ok:
				return engines.Invalid("%s", part.refusal)
			}
		}
		*part.to = *part.given
	}
	if p.Accessors == nil && p.Types == nil && p.Groups == nil && p.Entities == nil {
		return engines.Invalid("One of auth_method_accessors, auth_method_types, identity_group_ids, " +
			"identity_entity_ids must be specified")
	}
	return nil
}

func (s *Store) deleteEnforcement(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if !enforcementName.MatchString(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	err := s.change(ctx, func() ([]storage.Op, func(), error) {
		switch {
		case s.enforcements[p.Name] != nil:
		case s.lostEnforcements[p.Name]:
			return nil, nil, errLost
		default:
			return nil, nil, nil
		}
		return []storage.Op{storage.Delete(enforcementFolder + p.Name)}, func() { delete(s.enforcements, p.Name) }, nil
	})
	return &engines.Response{}, err
}

// Subject is who logs in, and where.
type Subject struct {
	// EntityID is "" for somebody identity does not know yet.
	EntityID string
	// Merged are the ids of entities that became part of his: what was asked of them is asked of him.
	Merged []string
	// Groups are the ids of all groups the entity is in, directly or not.
	Groups []string
	// Accessor and Type are the auth method's.
	Accessor, Type string
}

func (e *enforcement) covers(w *Subject) bool {
	return (w.EntityID != "" && slices.Contains(e.Entities, w.EntityID)) || slices.Contains(e.Accessors, w.Accessor) ||
		slices.Contains(e.Types, w.Type) || overlap(w.Merged, e.Entities) || overlap(w.Groups, e.Groups)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(id string) bool { return slices.Contains(b, id) })
}

// Demand is what a login has to show: one factor of each enforcement.
type Demand struct{ enforcements []*enforcement }

var (
	// errLost is the answer for what is there and cannot be read.
	errLost = engines.Failed("the stored MFA method or login enforcement cannot be read: see sys/damaged")
	// errLostEnforcement refuses every login while nobody knows whose logins need a second factor.
	errLostEnforcement = engines.Failed("a login enforcement cannot be read, which may be for this login: see sys/damaged")
	// errLostMethod refuses a login that nothing could satisfy.
	errLostMethod = engines.Failed("the MFA method that this login needs cannot be read: see sys/damaged")
)

// Any reports whether there is any enforcement at all. While one cannot be read it returns an ErrFailed: nobody may log
// in.
func (s *Store) Any(ctx context.Context) (bool, error) {
	n, lost := 0, 0
	err := s.view(ctx, func() { n, lost = len(s.enforcements), len(s.lostEnforcements) })
	if err == nil && lost > 0 {
		err = errLostEnforcement
	}
	return n > 0, err
}

// DemandOf returns what a login of the subject has to show; nil when that is nothing. It returns an ErrFailed when none
// of an enforcement's methods can be read.
func (s *Store) DemandOf(ctx context.Context, w Subject) (*Demand, error) {
	var d Demand
	lost := false
	err := s.view(ctx, func() {
		for _, e := range s.enforcements {
			if e.covers(&w) {
				d.enforcements = append(d.enforcements, e)
				lost = lost || s.lostAll(e.Methods)
			}
		}
	})
	switch {
	case err != nil || len(d.enforcements) == 0:
		return nil, err
	case lost:
		return nil, errLostMethod
	}
	slices.SortFunc(d.enforcements, func(a, b *enforcement) int { return strings.Compare(a.Name, b.Name) })
	return &d, nil
}

// lostAll reports whether some of the methods cannot be read, and there is none of the others.
func (s *Store) lostAll(methods []string) bool {
	return slices.ContainsFunc(methods, func(id string) bool { return s.lostMethods[id] }) &&
		!slices.ContainsFunc(methods, func(id string) bool { return s.methods[id] != nil })
}

// Requirement tells a client what a waiting login has to show.
func (s *Store) Requirement(ctx context.Context, d *Demand, requestID string) (*engines.MFARequirement, error) {
	r := &engines.MFARequirement{RequestID: requestID, Constraints: make(map[string]engines.MFAConstraint)}
	err := s.view(ctx, func() {
		for _, e := range d.enforcements {
			c := engines.MFAConstraint{}
			for _, id := range e.Methods {
				if m := s.methods[id]; m != nil {
					c.Any = append(c.Any, engines.MFAMethod{Type: typeTOTP, ID: id, UsesPasscode: true, Name: m.Name})
				}
			}
			r.Constraints[e.Name] = c
		}
	})
	return r, err
}
