package identity

import (
	"context"

	"coffer/engines"
)

// lookupParams name one entity or group in one way.
type lookupParams struct {
	ID        string `param:"id" help:"Its id."`
	Name      string `param:"name" as:"name" help:"Its name."`
	AliasID   string `param:"alias_id" help:"The id of its alias."`
	AliasName string `param:"alias_name" as:"name" help:"The name of its alias, with alias_mount_accessor."`
	Mount     string `param:"alias_mount_accessor" help:"The mount of its alias, with alias_name."`
}

// check refuses a lookup by more or less than one thing.
func (p lookupParams) check() error {
	if (p.AliasName == "") != (p.Mount == "") {
		return engines.Invalid("both 'alias_name' and 'alias_mount_accessor' needs to be set")
	}
	ways := 0
	for _, s := range []string{p.ID, p.Name, p.AliasID, p.AliasName} {
		if s != "" {
			ways++
		}
	}
	switch ways {
	case 0:
		return engines.Invalid("query parameter not supplied")
	case 1:
		return nil
	default:
		return engines.Invalid("query parameter conflict; please supply distinct set of query parameters")
	}
}

func (b *engine) lookupEntity(ctx context.Context, _ *engines.Request, p lookupParams) (*engines.Response, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	resp := &engines.Response{}
	err := b.view(ctx, func(x *index) {
		var e *Entity
		switch {
		case p.ID != "":
			e = x.entities[p.ID]
		case p.Name != "":
			e = x.entityNamed(p.Name)
		case p.AliasID != "":
			e = x.entityOfAlias(p.AliasID)
		default:
			e = x.entityOfLogin(factors{p.Mount, folded(p.AliasName)})
		}
		if e != nil {
			resp.Data = b.describeEntity(x, e)
		}
	})
	return resp, err
}

func (b *engine) lookupGroup(ctx context.Context, _ *engines.Request, p lookupParams) (*engines.Response, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	resp := &engines.Response{}
	err := b.view(ctx, func(x *index) {
		var g *Group
		switch {
		case p.ID != "":
			g = x.groups[p.ID]
		case p.Name != "":
			g = x.groupNamed(p.Name)
		case p.AliasID != "":
			g = x.groupOfAlias(p.AliasID)
		default:
			g = x.groupOfLogin(factors{p.Mount, folded(p.AliasName)})
		}
		if g != nil {
			resp.Data = b.describeGroup(x, g)
		}
	})
	return resp, err
}
