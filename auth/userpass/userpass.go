// Package userpass is the auth method at which people log in with a name and a password. See DESIGN.md.
package userpass

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// userFolder is where the users are stored, by their names in lower case.
const userFolder = "user/"

// engine is one mount.
type engine struct {
	storage storage.Storage
	hasher  *Hasher
	// users are held while a user is changed.
	users *keylock.Set
}

// NewFactory returns what makes the method of a mount. All mounts share the hasher.
func NewFactory(hasher *Hasher) engines.Factory {
	return func(_ context.Context, cfg engines.Config) (engines.Engine, error) {
		return &engine{storage: cfg.Storage, hasher: hasher, users: keylock.New()}, nil
	}
}

// Routes implements engines.Engine.
func (*engine) Routes() *engines.Routes { return engines.RoutesOf[*engine](routes) }

func routes() []engines.Route {
	return []engines.Route{
		engines.Path("login/{username+}", "Log in with a name and a password.",
			engines.CaseInsensitive("username"), engines.Unauthenticated(),
			engines.LoginAs(loginParams.alias), engines.OnUpdate(engines.Method((*engine).login))),
		engines.Path("users", "List the users.", engines.OnList(engines.Method((*engine).list))),
		engines.Path("users/{username}", "Read, write or delete a user.",
			engines.CaseInsensitive("username"), engines.Exists(engines.Method((*engine).exists)),
			engines.OnRead(engines.Method((*engine).read)), engines.OnWrite(engines.Method((*engine).write)),
			engines.OnDelete(engines.Method((*engine).delete))),
		engines.Path("users/{username}/password", "Change a user's password.",
			engines.CaseInsensitive("username"), engines.OnUpdate(engines.Method((*engine).writePassword))),
		engines.Path("users/{username}/policies", "Change a user's policies.",
			engines.CaseInsensitive("username"), engines.OnUpdate(engines.Method((*engine).writePolicies))),
	}
}

// user is what is stored of a user.
type user struct {
	// Name is in lower case.
	Name string `json:"-"`
	// Hash is the bcrypt hash of the password.
	Hash  []byte             `json:"hash"`
	Token auth.TokenSettings `json:"token"`
}

// errNoUser is returned for a user who does not exist.
var errNoUser = errors.New("userpass: no such user")

// internal puts a text into the form in which Vault reports an error that it did not write for the client.
func internal(text string) error { return engines.Failed("1 error occurred:\n\t* %s\n\n", text) }

type nameParams struct {
	Name string `path:"username" help:"Name of the user; upper and lower case are the same."`
}

// user returns a user, or errNoUser. A name that no user can have is an ErrUnsupportedPath.
func (e *engine) user(ctx context.Context, name string) (*user, error) {
	if !auth.ValidName(name) {
		return nil, engines.ErrUnsupportedPath
	}
	name = engines.FoldASCII(name)
	b, err := e.storage.Get(ctx, userFolder+name)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return nil, errNoUser
	}
	if err != nil {
		return nil, err
	}
	return decodeUser(name, b)
}

func decodeUser(name string, b []byte) (*user, error) {
	u := &user{Name: name}
	if err := json.Unmarshal(b, u); err != nil {
		return nil, fmt.Errorf("userpass: user %s is unreadable: %w", name, err)
	}
	return u, nil
}

func (e *engine) list(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	names, err := e.storage.List(ctx, userFolder, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (e *engine) exists(ctx context.Context, _ *engines.Request, p nameParams) (bool, error) {
	_, err := e.user(ctx, p.Name)
	if errors.Is(err, errNoUser) {
		return false, nil
	}
	return err == nil, err
}

func (e *engine) read(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	u, err := e.user(ctx, p.Name)
	if errors.Is(err, errNoUser) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	data := make(map[string]any)
	u.Token.Show(data)
	return &engines.Response{Data: data}, nil
}

func (e *engine) delete(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	name := engines.FoldASCII(p.Name)
	return keylock.Write(ctx, e.users, name, func(ctx context.Context) (*engines.Response, error) {
		return &engines.Response{}, e.storage.Apply(ctx, storage.Delete(userFolder+name))
	})
}

// change changes a user under his lock. Without a user it makes one, or calls none for the error.
func (e *engine) change(
	ctx context.Context, name string, none func() error, f func(*user) error,
) (*engines.Response, error) {
	return keylock.Write(ctx, e.users, engines.FoldASCII(name), func(ctx context.Context) (*engines.Response, error) {
		u, err := e.user(ctx, name)
		if errors.Is(err, errNoUser) {
			u, err = &user{Name: engines.FoldASCII(name)}, none()
		}
		if err != nil {
			return nil, err
		}
		if err := f(u); err != nil {
			return nil, err
		}
		b, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("userpass: user %s: %w", u.Name, err)
		}
		return &engines.Response{}, e.storage.Apply(ctx, storage.Put(userFolder+u.Name, b))
	})
}

// isNeeded is the error of a change to a user who does not exist.
func isNeeded() error { return internal("username does not exist") }

// userParams are the settings of a user. What is not sent stays as it is.
type userParams struct {
	nameParams
	passwordParams
	auth.TokenParams
	OldCIDRs    *[]string      `param:"bound_cidrs" old:"token_bound_cidrs" as:"network"`
	OldMaxTTL   *time.Duration `param:"max_ttl" old:"token_max_ttl"`
	OldPolicies *[]string      `param:"policies" old:"token_policies" as:"name"`
	OldTTL      *time.Duration `param:"ttl" old:"token_ttl"`
}

func (e *engine) write(ctx context.Context, r *engines.Request, p userParams) (*engines.Response, error) {
	if p.both() {
		return nil, errBoth
	}
	mustHave := func() error {
		if p.none() {
			return errNeither
		}
		return nil
	}
	return e.change(ctx, p.Name, mustHave, func(u *user) error {
		old := auth.OldTokenParams{BoundCIDRs: p.OldCIDRs, MaxTTL: p.OldMaxTTL, Policies: p.OldPolicies, TTL: p.OldTTL}
		if err := u.Token.Set(p.TokenParams, old); err != nil || p.none() {
			return err
		}
		var err error
		u.Hash, err = p.hash(ctx, r.Client.Addr, e.hasher)
		return err
	})
}

type passwordOnlyParams struct {
	nameParams
	passwordParams
}

func (e *engine) writePassword(
	ctx context.Context, r *engines.Request, p passwordOnlyParams,
) (*engines.Response, error) {
	return e.change(ctx, p.Name, isNeeded, func(u *user) (err error) {
		switch {
		case p.both():
			return errBoth
		case p.none():
			return errNeither
		}
		u.Hash, err = p.hash(ctx, r.Client.Addr, e.hasher)
		return err
	})
}

type policiesParams struct {
	nameParams
	Policies    *[]string `param:"token_policies" as:"name" help:"Policies of the tokens."`
	OldPolicies *[]string `param:"policies" old:"token_policies" as:"name"`
}

func (e *engine) writePolicies(ctx context.Context, _ *engines.Request, p policiesParams) (*engines.Response, error) {
	return e.change(ctx, p.Name, isNeeded, func(u *user) error {
		if p.Policies != nil {
			clean := auth.CleanPolicies(*p.Policies)
			p.Policies = &clean
		}
		return u.Token.Set(auth.TokenParams{Policies: p.Policies}, auth.OldTokenParams{Policies: p.OldPolicies})
	})
}
