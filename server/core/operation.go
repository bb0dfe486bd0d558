package core

import (
	"context"
	"encoding/json"
	"maps"

	"coffer/engines"
	"coffer/server/ceremony"
)

// Standing is what the way a call came says about its sender, whatever token it has.
type Standing int

// Standings.
const (
	// Stranger may be anybody. Only a token lets him take part in a ceremony.
	Stranger Standing = iota
	// Guest may be anybody, but the configuration lets everybody take part in this ceremony.
	Guest
	// AtMachine is who sits at the machine, or in the pod: the call came over loopback and through no proxy.
	AtMachine
)

// operation begins the run of a call of an operator's path, which no engine serves. The record shows it as a call
// of sys/, without the shares in it.
func (s *session) operation(call Call) *run {
	r := &run{session: s, call: call}
	r.request = engines.Request{ID: call.ID, Operation: call.Operation, Path: call.Path, Params: recordable(call.Params),
		Token: call.Token, Client: call.Client}
	if mount, rest, ok := s.mounts.Route(call.Path); ok {
		r.mount, r.request.Mount, r.request.Path = mount, mount.Mount, rest
	}
	return r
}

// recordable returns the parameters that may be on record, if only as hashes: a log that shows everything (log_raw)
// must not hold the shares of a key, nor what hides a root token.
func recordable(params map[string]any) map[string]any {
	shown := maps.Clone(params)
	delete(shown, "key")
	delete(shown, "otp")
	return shown
}

// enter finds out who calls: a token with sudo on the path makes privileged, and so does a place at the machine. Others
// take part only where the configuration lets everybody. The request is on record afterwards, refused or not.
func (r *run) enter(ctx context.Context) (ceremony.Caller, error) {
	err := r.authenticate(ctx)
	if err == nil {
		err = r.authorizeBare(ctx, true)
	}
	if r.counted {
		r.session.endUse(r.entry)
	}
	caller := ceremony.Privileged
	if err != nil && r.call.Standing == Guest {
		caller = ceremony.Anonymous
	}
	if r.call.Standing != Stranger {
		err = nil
	}
	if auditErr := r.auditRequest(ctx, err); auditErr != nil {
		return ceremony.Anonymous, auditErr
	}
	return caller, err
}

// operate serves a call of a ceremony in s, whose end waits for it: what a ceremony has made must be on record and
// delivered, or taken back. action names it in the log.
func (c *Core) operate(
	ctx context.Context, s *session, call Call, action string, serve func(ceremony.Caller) (any, error),
) (any, error) {
	if !s.operators.Enter() {
		return nil, engines.ErrSealed
	}
	defer s.operators.Leave()
	r := s.operation(call)
	caller, err := r.enter(ctx)
	if err != nil {
		c.journal.limited(call, action+" refused", "error", err)
		return nil, err
	}
	write := c.journal.log
	if caller == ceremony.Anonymous {
		write = c.journal.limited
	}
	answer, err := serve(caller)
	if isComplete(answer) {
		c.cfg.scrubLater()
	}
	if err != nil {
		write(call, action+" failed", r.holderArgs("error", err)...)
	} else {
		write(call, action, r.holderArgs(details(answer)...)...)
	}
	return c.conclude(ctx, r, answer, err)
}

// isComplete reports whether an answer ends a ceremony: enough shares were given.
func isComplete(answer any) bool {
	switch a := answer.(type) {
	case ceremony.GenerateRootStatus:
		return a.Complete
	case *ceremony.RekeyResult, *ceremony.VerifyResult:
		return true
	}
	return false
}

// holderArgs puts the accessor of the caller's token before args, if there is one.
func (r *run) holderArgs(args ...any) []any {
	if r.request.Caller == nil {
		return args
	}
	return append([]any{"token_accessor", r.request.Caller.Accessor}, args...)
}

// details are what the log says of an answer.
func details(answer any) []any {
	switch a := answer.(type) {
	case ceremony.GenerateRootStatus:
		args := []any{"progress", a.Progress, "required", a.Required, "complete", a.Complete}
		if a.Complete {
			args = append(args, "root_token_accessor", a.Accessor)
		}
		return args
	case ceremony.RekeyStatus:
		return []any{"shares", a.N, "threshold", a.T}
	case *ceremony.RekeyStatus:
		return []any{"progress", a.Progress, "required", a.Required, "complete", false}
	case *ceremony.RekeyResult:
		return []any{"complete", true, "verification_required", a.VerificationRequired}
	case *ceremony.VerifyStatus:
		return []any{"progress", a.Progress, "required", a.T, "complete", false}
	case *ceremony.VerifyResult:
		return []any{"complete", true}
	}
	return nil
}

// conclude puts the answer on record, and withholds it when nothing records it.
//
// New keys are told all the same, because they are in effect: without them nobody opens the data again. A root token
// that is withheld is revoked.
func (c *Core) conclude(ctx context.Context, r *run, answer any, err error) (any, error) {
	if !r.session.audit.Enabled() {
		return answer, err
	}
	auditErr := r.auditResponse(ctx, recordOf(answer, err), err)
	if auditErr == nil {
		return answer, err
	}
	log := r.session.logger
	switch a := answer.(type) {
	case *ceremony.RekeyResult, *ceremony.VerifyResult:
		if err == nil {
			log.Error("new keys are told though no audit device recorded it", "request_id", r.call.ID, "error", auditErr)
			return answer, nil
		}
	case ceremony.GenerateRootStatus:
		if err == nil && a.Complete {
			if err := r.session.tokens.RevokeAccessor(ctx, a.Accessor); err != nil {
				log.Error("a root token that nobody was given could not be revoked", "accessor", a.Accessor, "error", err)
			}
		}
	}
	return nil, auditErr
}

// recordOf is the answer as the record shows it: without shares and passwords, and with the accessor of a root token.
func recordOf(answer any, err error) *engines.Response {
	if answer == nil || err != nil {
		return nil
	}
	resp := &engines.Response{}
	switch a := answer.(type) {
	case *ceremony.RekeyResult:
		shown := *a
		shown.ShareList = ceremony.ShareList{}
		answer = shown
	case ceremony.GenerateRootStatus:
		a.OTP = ""
		answer = a
		if a.Complete {
			resp.Auth = &engines.Auth{Accessor: a.Accessor, Policies: []string{"root"}, TokenPolicies: []string{"root"},
				TokenType: engines.ServiceToken}
		}
	}
	text, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(text, &resp.Data)
	}
	if err != nil {
		return nil // cannot happen: the answers are plain structs
	}
	return resp
}

// mayKnow reports whether the sender of a call may know the nonce of an attempt.
func (s *session) mayKnow(ctx context.Context, call Call) bool {
	return call.Standing != Stranger || !call.Token.IsZero() && s.check(ctx, call, true) == nil
}
