package sys

import (
	"context"
	"errors"

	"coffer/engines"
	"coffer/policy"
)

// Wrapping keeps what is held back under wrapping tokens; *wrapping.Service is one. For a token that is
// none, is used up or has expired all methods return an engines.ErrInvalid with the text for the client.
type Wrapping interface {
	// Lookup tells how a wrapping token was made and leaves it usable.
	Lookup(ctx context.Context, token engines.Token) (*engines.WrapInfo, error)
	// Unwrap uses the token up and returns what it held back: the JSON of a whole answer. Of several at
	// once one gets it.
	Unwrap(ctx context.Context, token engines.Token) ([]byte, error)
	// Rewrap moves what a token holds to a new token with the same life, which it returns.
	Rewrap(ctx context.Context, token engines.Token) (*engines.WrapInfo, error)
}

// The routes of wrapping are open because the token in the header may be the wrapping token itself, and
// because a worthless one gets an answer of its own. unwrap and rewrap look for themselves whether the
// caller's policies permit them.
func (e *engine) wrappingRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("wrapping/wrap", "Wrap what is sent.", engines.OnUpdate(e.wrap)),
		engines.Path("wrapping/lookup", "Tell about a wrapping token.", engines.Unauthenticated(),
			engines.OnUpdate(e.lookupWrapping), engines.OnRead(e.lookupWrapping)),
		engines.Path("wrapping/unwrap", "Fetch what a wrapping token holds.", engines.Unauthenticated(),
			engines.AnyParameters(), engines.OnUpdate(e.unwrap)),
		engines.Path("wrapping/rewrap", "Change a wrapping token for a new one.", engines.Unauthenticated(),
			engines.OnUpdate(e.rewrap)),
	}
}

type wrapParams struct {
	All map[string]any `param:"*"`
}

// wrap answers with the parameters; the pipeline wraps them because the client asked for it.
func (e *engine) wrap(_ context.Context, r *engines.Request, p wrapParams) (*engines.Response, error) {
	if r.WrapTTL <= 0 {
		return nil, engines.Invalid("endpoint requires response wrapping to be used")
	}
	data := p.All
	if data == nil {
		data = map[string]any{}
	}
	return read(data)
}

type wrappingParams struct {
	Token *string `param:"token" help:"The wrapping token; that of the request when it is not given."`
}

// wrappingToken is the token that a request is about, and whether the caller came with it as his own.
func wrappingToken(r *engines.Request, p wrappingParams) (token engines.Token, own bool, err error) {
	if p.Token == nil {
		if r.Token.IsZero() {
			return token, false, engines.Denied("error validating wrapping token: token is empty")
		}
		return r.Token, true, nil
	}
	if *p.Token == "" {
		return token, false, engines.Denied("error validating wrapping token: empty token in request body")
	}
	token = engines.NewToken(*p.Token)
	return token, token.Equal(r.Token), nil
}

func (e *engine) lookupWrapping(ctx context.Context, r *engines.Request, p wrappingParams) (*engines.Response, error) {
	token, _, err := wrappingToken(r, p)
	if err != nil {
		return nil, err
	}
	info, err := e.Wrapping.Lookup(ctx, token)
	if err != nil {
		return nil, err
	}
	return &engines.Response{NoMountType: true, Data: map[string]any{
		"creation_path": info.CreationPath,
		"creation_time": timestamp(info.CreationTime),
		"creation_ttl":  engines.WholeSeconds(info.TTL),
	}}, nil
}

func (e *engine) unwrap(ctx context.Context, r *engines.Request, p wrappingParams) (*engines.Response, error) {
	token, own, err := wrappingToken(r, p)
	if err != nil {
		return nil, err
	}
	if _, err := e.Wrapping.Lookup(ctx, token); err != nil {
		return nil, err
	}
	if !own {
		// Who holds a wrapping token may unwrap with it; others need a policy that says so.
		end, err := e.authorize(ctx, r)
		if err != nil {
			return nil, err
		}
		defer end()
	}
	body, err := e.Wrapping.Unwrap(ctx, token)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Raw: &engines.Raw{ContentType: "application/json", Body: body}}, nil
}

func (e *engine) rewrap(ctx context.Context, r *engines.Request, p wrappingParams) (*engines.Response, error) {
	token, own, err := wrappingToken(r, p)
	if err != nil {
		return nil, err
	}
	if _, err := e.Wrapping.Lookup(ctx, token); err != nil {
		return nil, err
	}
	if own {
		// The policy of wrapping tokens permits unwrapping alone, and a refused use is a use.
		if _, err := e.Wrapping.Unwrap(ctx, token); err != nil {
			return nil, err
		}
		return nil, errPolicy
	}
	end, err := e.authorize(ctx, r)
	if err != nil {
		return nil, err
	}
	defer end()
	info, err := e.Wrapping.Rewrap(ctx, token)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Wrap: info, NoMountType: true}, nil
}

var errPolicy = engines.Denied("%s", engines.Numbered("permission denied"))

// authorize counts a use of the caller's token and asks its policies for the request itself. A refusal is a use
// as well. Without an error end must be called when the request is over.
func (e *engine) authorize(ctx context.Context, r *engines.Request) (end func(), err error) {
	acl, err := e.callerACL(ctx, r)
	if err != nil {
		return nil, err
	}
	end, err = e.ACLs.Use(ctx, r.Caller)
	if errors.Is(err, ErrNoToken) {
		return nil, errBadToken
	}
	if err != nil {
		return nil, err
	}
	decision := acl.Decide(policy.Request{
		Capability: r.Operation.Capability(), Path: r.FullPath(), Params: r.Params, WrapTTL: r.WrapTTL, Now: e.Wall(),
	})
	if !decision.Allowed {
		end()
		return nil, errPolicy
	}
	return end, nil
}
