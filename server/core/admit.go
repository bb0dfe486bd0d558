package core

import (
	"context"
	"errors"

	"coffer/engines"
)

// errNobody is returned by recognise on a route that is open to everybody, when the token is missing or worthless.
var errNobody = errors.New("core: nobody holds the token")

// Admit tells whether a call is worth reading its body, whose parameters the call does not have yet. It returns the
// error of Handle, and audits the refusal, for a call that Handle would refuse whatever the body says: the server is
// sealed, or the path needs a token and that is missing or worthless. open means that the path needs none. The call is
// not counted as a use of its token.
func (c *Core) Admit(ctx context.Context, call Call) (open bool, err error) {
	s := c.session.Load()
	if s == nil {
		return false, engines.ErrSealed
	}
	r := &run{session: s, call: call}
	if r.locate(ctx) != nil {
		return false, engines.ErrSealed
	}
	defer r.leave()
	if r.open() {
		return true, nil
	}
	if _, err = r.recognise(ctx); err == nil {
		return false, nil
	}
	if errors.Is(err, errSessionOver) {
		return false, engines.ErrSealed
	}
	if auditErr := r.auditRequest(ctx, err); auditErr != nil {
		return false, auditErr
	}
	return false, err
}
