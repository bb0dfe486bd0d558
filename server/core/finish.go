package core

import (
	"bytes"
	"context"
	"time"

	"coffer/engines"
	"coffer/server/wire"
	"coffer/server/wrapping"
	"coffer/storage"
)

// finish does what follows from the handler's answer: it issues the token of a login, gives a secret its
// lease, and holds the answer back where wrapping was asked for.
func (r *run) finish(ctx context.Context, resp *engines.Response) (*engines.Response, error) {
	if resp == nil {
		return nil, nil //nolint:nilnil // a 204
	}
	if resp.Login != nil {
		if release := resp.Login.Release; release != nil {
			defer release()
			ctx = storage.Unbudgeted(ctx) // what is held is not held while waiting for memory
		}
		auth, warnings, err := r.admit(ctx, resp.Login)
		if err != nil {
			return nil, err
		}
		issued := *resp
		issued.Auth, issued.Login = auth, nil
		issued.Warnings = append(issued.Warnings, warnings...)
		resp = &issued
	}
	if needsLease(resp) {
		var err error
		if resp, err = r.lease(ctx, resp); err != nil {
			return nil, err
		}
	}
	if ttl := r.wrapTTL(resp); ttl > 0 {
		return r.wrap(ctx, resp, ttl)
	}
	return resp, nil
}

// wrapTTL is the life of the wrapping token for this answer; 0 for an answer that is sent openly. What nobody asked for
// is public, and is not stored for him: only logins are, by which somebody has shown who he is.
func (r *run) wrapTTL(resp *engines.Response) time.Duration {
	if r.entry == nil && resp.Auth == nil {
		return 0
	}
	if resp.Raw != nil && resp.Raw.Wrappable {
		return r.call.WrapTTL
	}
	if resp.Wrap != nil || resp.Raw != nil || (!resp.HasData() && resp.Auth == nil && resp.Secret == nil) {
		return 0
	}
	return r.call.WrapTTL
}

// wrap stores the answer under a single-use token and answers with that. Warnings are about what is inside, and there.
// It returns wrapping.ErrTooLarge before it encodes what cannot be stored.
func (r *run) wrap(ctx context.Context, resp *engines.Response, ttl time.Duration) (*engines.Response, error) {
	size := wire.Size(resp)
	if size > storage.MaxValueSize {
		return nil, wrapping.ErrTooLarge
	}
	if err := storage.Spend(ctx, size); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	body.Grow(size)
	if resp.Raw != nil {
		body.Write(resp.Raw.Body)
	} else if err := wire.Append(&body, r.call.ID, r.mountType(resp), resp); err != nil {
		return nil, err
	}
	accessor := resp.Accessor
	if resp.Auth != nil {
		accessor = resp.Auth.Accessor
	}
	info, err := r.session.wrapping.Wrap(ctx, wrapping.Request{
		Body: body.Bytes(), TTL: ttl, CreationPath: r.call.Path, WrappedAccessor: accessor,
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{Wrap: info}, nil
}
