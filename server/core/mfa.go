package core

import (
	"context"
	"errors"
	"slices"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/mfa"
	"coffer/server/mounts"
	"coffer/storage"
)

// authMounts tells where auth methods are mounted.
type authMounts struct{ *mounts.Table }

// AuthMounts implements mfa.Mounts.
func (m authMounts) AuthMounts() []engines.Mount {
	var list []engines.Mount
	for _, e := range m.Entries(mounts.Auth) {
		list = append(list, engines.Mount{Path: e.Path, Type: e.Type, Accessor: e.Accessor})
	}
	return list
}

// The warnings about second factors, in Vault's words.
const (
	warnWaiting = "A login request was issued that is subject to MFA validation. Please make sure to validate the login " +
		"by sending another request to mfa/validate endpoint."
	warnNotAsked = "Found MFA header but failed to find MFA Enforcement Config"
)

// admit issues the token of a login; of one that needs a second factor only when that came along. Until it does,
// nothing is kept but in memory.
func (r *run) admit(ctx context.Context, l *engines.Login) (*engines.Auth, []string, error) {
	s := r.session
	demand, entity, err := s.demandOf(ctx, l, &r.mount.Entry)
	switch {
	case err != nil:
		return nil, nil, err
	case demand == nil:
		auth, warnings, err := s.issue(ctx, l, r.mount, r.call.Path)
		if len(r.call.Factors) > 0 && l.Alias != "" {
			warnings = append(warnings, warnNotAsked)
		}
		return auth, warnings, err
	case l.Alias == "":
		return nil, nil, errNoToken // nobody has a second factor without a name
	}
	// The first factor is spent now, whatever becomes of the second.
	if l, err = s.spend(ctx, l, &r.mount.Entry); err != nil {
		return nil, nil, err
	}
	if len(r.call.Factors) > 0 {
		err := s.mfa.Satisfy(ctx, demand, entity, r.call.Factors)
		if errors.Is(err, engines.ErrDenied) {
			s.logger.Debug("second factor refused", "request_id", r.call.ID, "mount", r.mount.Entry.Path)
			return nil, nil, errNoToken
		}
		if err != nil {
			return nil, nil, err
		}
		return s.issue(ctx, l, r.mount, r.call.Path)
	}
	id := s.mfa.Wait(mfa.Waiting{
		Login: l, Method: r.mount.Engine(), Entity: entity, Accessor: r.mount.Entry.Accessor, Path: r.call.Path,
	})
	requirement, err := s.mfa.Requirement(ctx, demand, id)
	if err != nil {
		return nil, nil, err
	}
	return &engines.Auth{TokenType: "default", MFA: requirement}, []string{warnWaiting}, nil
}

// demandOf is what a login has to show besides, nil for nothing, and the entity whose it is, "" for a new one.
func (s *session) demandOf(ctx context.Context, l *engines.Login, at *mounts.Entry) (*mfa.Demand, string, error) {
	asks, err := s.mfa.Any(ctx)
	if err != nil || !asks {
		return nil, "", err
	}
	subject := mfa.Subject{Accessor: at.Accessor, Type: at.Type}
	if l.Alias != "" {
		who, err := s.identity.Who(ctx, token.Alias{
			MountAccessor: at.Accessor, Name: l.Alias, Metadata: l.AliasMetadata, Groups: l.GroupAliases,
		})
		if err != nil {
			return nil, "", err
		}
		subject.EntityID, subject.Merged, subject.Groups = who.ID, who.Merged, who.Groups
	}
	demand, err := s.mfa.DemandOf(ctx, subject)
	return demand, subject.EntityID, err
}

// spend does at once what a login costs at its method, and returns the login without it.
func (s *session) spend(ctx context.Context, l *engines.Login, at *mounts.Entry) (*engines.Login, error) {
	spent := *l
	spent.Spend, spent.Release = nil, nil
	if len(l.Spend) == 0 {
		return &spent, nil
	}
	ops := slices.Clone(l.Spend)
	for i := range ops {
		ops[i].Key = mounts.StoragePrefix(*at) + ops[i].Key
	}
	return &spent, s.apply(ctx, ops)
}

func (s *session) apply(ctx context.Context, ops []storage.Op) error {
	return s.barrier.Apply(ctx, ops...)
}

func (s *session) issue(
	ctx context.Context, l *engines.Login, at *mounts.Mounted, path string,
) (*engines.Auth, []string, error) {
	auth, warnings, err := s.tokens.Issue(ctx, l, token.IssueAt{
		Mount: at.Entry.Path, Accessor: at.Entry.Accessor, Path: path, TTLs: at.TTLs(),
		TokenType: at.Entry.Tuning.TokenType, Storage: mounts.StoragePrefix(at.Entry),
	})
	if err != nil || s.mounts.Serves(at) {
		return auth, warnings, err
	}
	// The mount was removed while its method worked, and may have looked for tokens before this one. A batch token
	// is simply not given out.
	gone := engines.NotFoundf("no handler for route %q. route entry not found.", path)
	if auth.TokenType == engines.BatchToken {
		return nil, nil, gone
	}
	return nil, nil, errors.Join(gone, s.tokens.Revoke(context.WithoutCancel(ctx), auth.Token))
}

// secondFactors finishes logins.
type secondFactors struct{ *session }

var (
	errNoRequest = engines.Invalid("invalid request ID")
	errNoDemand  = engines.Failed("found nil or empty MFAEnforcement configuration")
	// errNoEntity refuses the login of somebody whose entity or alias was deleted.
	errNoEntity = engines.Failed("MFA validation failed. entity not found: <nil>")
	// errNoMethod refuses a login whose auth method was disabled, moved or set up anew.
	errNoMethod = engines.Failed("failed to find MFAEnforcement configuration")
)

// withdrawnError is the refusal of a login that its auth method would not grant any more: it does not wait on.
type withdrawnError struct{ error }

// Unwrap is what the client is told.
func (e withdrawnError) Unwrap() error { return e.error }

// Validate implements sys.SecondFactors. A login whose factors are refused waits on.
func (f secondFactors) Validate(ctx context.Context, id string, payload map[string]any) (*engines.Response, error) {
	factors, err := mfa.ParsePayload(payload)
	if err != nil {
		return nil, err
	}
	w, ok := f.mfa.Take(id)
	if !ok {
		return nil, errNoRequest
	}
	resp, err := f.complete(ctx, w, factors)
	var withdrawn withdrawnError
	if err != nil && !errors.As(err, &withdrawn) {
		f.mfa.Return(w)
	}
	return resp, err
}

func (f secondFactors) complete(ctx context.Context, w *mfa.Waiting, factors mfa.Factors) (*engines.Response, error) {
	at, _, ok := f.mounts.Route(w.Path)
	if !ok || at.Entry.Accessor != w.Accessor || at.Engine() != w.Method || !at.Enter() {
		return nil, withdrawnError{errNoMethod}
	}
	defer at.Leave()
	// Who he is, what is asked of him and whether he may come in is looked at as it is now.
	demand, entity, err := f.demandOf(ctx, w.Login, &at.Entry)
	if err != nil {
		return nil, err
	}
	switch {
	case demand == nil:
		return nil, errNoDemand
	case entity == "" && w.Entity != "":
		return nil, withdrawnError{errNoEntity}
	}
	if err := f.mfa.Satisfy(ctx, demand, entity, factors); err != nil {
		return nil, err
	}
	if err := stillGood(ctx, w.Login); err != nil {
		f.logger.Info("a login that waited for its second factor was not finished", "mount", at.Entry.Path, "error", err)
		return nil, err
	}
	auth, warnings, err := f.issue(ctx, w.Login, at, w.Path)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Auth: auth, Warnings: warnings}, nil
}

// stillGood asks the auth method whether it would grant a login that waited as it stands. It is asked last, of those
// alone who have both factors: it may be costly.
func stillGood(ctx context.Context, l *engines.Login) error {
	if l.StillGood == nil {
		return nil
	}
	err := l.StillGood(ctx)
	if errors.Is(err, engines.ErrDenied) || errors.Is(err, engines.ErrInvalid) {
		return withdrawnError{err}
	}
	return err
}
