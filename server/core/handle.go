package core

import (
	"context"
	"errors"
	"time"

	"coffer/auth"
	"coffer/auth/token"
	"coffer/barrier"
	"coffer/engines"
	"coffer/policy"
	"coffer/server/audit"
	"coffer/server/identity"
	"coffer/server/mfa"
	"coffer/server/mounts"
	"coffer/server/policies"
	"coffer/storage"
)

// Call is one request of a client on its way in.
type Call struct {
	// ID names the request; it is a UUID.
	ID string
	// Operation is Update for every write; the pipeline tells create from update.
	Operation engines.Operation
	// Path is the whole canonical path, without a leading "/"; a List path ends in "/".
	Path   string
	Params map[string]any
	Token  engines.Token
	Client engines.Client
	// WrapTTL is the life of the wrapping token the client asked for; 0 when it asked for none. It is no longer than
	// the longest lease.
	WrapTTL time.Duration
	// Factors are the second factors in the headers, for a login; nil for none.
	Factors mfa.Factors
	// Standing counts for the operators' ceremonies only.
	Standing Standing
	// Stream is what engines.Request has.
	Stream engines.Stream
}

// Reply is the answer with what the envelope says of its mount.
type Reply struct {
	Response  *engines.Response
	MountType string
}

// The refusals of the pipeline, in Vault's words. Which one it is tells clients what to do: only
// errBadToken makes Vault Agent log in again.
var (
	errNoToken  = &engines.Error{Kind: engines.ErrDenied, Message: "permission denied"}
	errPolicy   = &engines.Error{Kind: engines.ErrDenied, Message: engines.Numbered("permission denied")}
	errBadToken = &engines.Error{Kind: engines.ErrDenied, Message: engines.Numbered("permission denied", "invalid token")}
)

// Handle walks a call down the corridor: authenticate, authorise, audit, route, run, audit, wrap. While
// the server is sealed it returns engines.ErrSealed.
func (c *Core) Handle(ctx context.Context, call Call) (Reply, error) {
	s := c.session.Load()
	if s == nil {
		return Reply{}, engines.ErrSealed
	}
	// A wrapping token is stored for as long as it lives.
	call.WrapTTL = min(call.WrapTTL, s.cfg.MaxLeaseTTL)
	r := &run{session: s, call: call}
	reply, err := r.handle(ctx)
	if errors.Is(err, errSessionOver) || errors.Is(err, barrier.ErrSealed) {
		return Reply{}, engines.ErrSealed
	}
	return reply, ofDamage(err)
}

// run is one call in the corridor.
type run struct {
	session *session
	call    Call
	mount   *mounts.Mounted
	match   engines.Match
	found   bool // a route serves the path
	request engines.Request
	entry   *token.Entry
	// holder is the entity of the token; nil for a token without one.
	holder *identity.Holder
	// decision is what the policies said; nil when they were not asked.
	decision *policy.Decision
	// counted is set when this call was counted as a use of its token.
	counted bool
}

func (r *run) handle(ctx context.Context) (Reply, error) {
	err := r.locate(ctx)
	if err != nil {
		return Reply{}, err
	}
	defer r.leave()
	err = r.authenticate(ctx)
	if err == nil {
		err = r.authorize(ctx)
	}
	if r.counted {
		defer r.session.endUse(r.entry)
	}
	auditErr := r.auditRequest(ctx, err)
	unrecorded := auditErr != nil && err == nil && r.repairs()
	if auditErr != nil && !unrecorded {
		return Reply{}, auditErr
	}
	if err != nil {
		return Reply{}, err
	}
	reply := Reply{}
	reply.Response, err = r.serve(ctx)
	reply.MountType = r.mountType(reply.Response)
	if auditErr := r.auditResponse(ctx, reply.Response, err); auditErr != nil && !unrecorded {
		return Reply{}, auditErr
	}
	if err != nil {
		return Reply{}, r.publish(err)
	}
	return reply, nil
}

// visit finds the mount of the path, which is there, and the session open, until leave. A mount that was replaced or
// removed just now lets nobody in, and is not found again.
func (r *run) visit() (rest string, err error) {
	for {
		mount, rest, ok := r.session.mounts.Route(r.call.Path)
		if !ok {
			return "", nil
		}
		if mount.Enter() {
			r.mount, r.request.Mount = mount, mount.Mount
			return rest, nil
		}
		if r.session.ctx.Err() != nil {
			return "", errSessionOver
		}
	}
}

func (r *run) leave() {
	if r.mount != nil {
		r.mount.Leave()
	}
}

// serve runs the handler and does what follows from its answer.
func (r *run) serve(ctx context.Context) (*engines.Response, error) {
	resp, err := r.execute(ctx)
	if err == nil {
		resp, err = r.finish(ctx, resp)
	}
	if err != nil && r.session.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errSessionOver
	}
	return resp, err
}

// locate finds the mount and the route of the path, and puts the canonical path in the place of the one that the
// client wrote: everything from here on sees that one.
func (r *run) locate(ctx context.Context) error {
	r.request = engines.Request{
		ID: r.call.ID, Operation: r.call.Operation, Path: r.call.Path, Params: r.call.Params,
		Token: r.call.Token, Client: r.call.Client, WrapTTL: r.call.WrapTTL, Stream: r.call.Stream,
	}
	if r.call.Stream != nil {
		r.request.Permitted = r.permitted
	}
	rest, err := r.visit()
	if r.mount == nil {
		return err
	}
	r.request.Path = rest
	r.match, r.found = r.mount.Router.Match(ctx, r.call.Operation, rest)
	if r.found && r.match.Path != rest {
		r.request.Path = r.match.Path
		r.call.Path = r.mount.Entry.Path + r.match.Path
	}
	return nil
}

func (r *run) open() bool { return r.found && r.match.Unauthenticated() }

// authenticate finds out who holds the token, and counts its use. A route that is open to everybody is called without
// a caller when the token is missing or worthless.
func (r *run) authenticate(ctx context.Context) error {
	entry, err := r.recognise(ctx)
	if errors.Is(err, errNobody) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.session.unclaimed.Load() {
		r.session.claim(ctx)
	}
	if entry.Limited() && !r.open() {
		if entry, err = r.session.tokens.Use(ctx, entry); err != nil {
			if errors.Is(err, token.ErrBadToken) {
				return errBadToken
			}
			return err
		}
		r.counted = true
	}
	r.entry, r.request.Caller = entry, entry.Caller
	return nil
}

// recognise finds out who holds the token. It returns errNobody where that is nobody and the route is open to
// everybody.
func (r *run) recognise(ctx context.Context) (*token.Entry, error) {
	if r.call.Token.IsZero() {
		if r.open() {
			return nil, errNobody
		}
		return nil, errNoToken
	}
	entry, err := r.session.tokens.Authenticate(ctx, r.call.Token)
	switch {
	case errors.Is(err, token.ErrBadToken):
		if r.open() {
			return nil, errNobody
		}
		return nil, errBadToken
	case err != nil:
		return nil, err
	}
	if !auth.Admits(entry.BoundCIDRs, r.call.Client.Addr) {
		if r.open() {
			return nil, errNobody
		}
		return nil, errNoToken
	}
	r.holder, err = r.session.holder(ctx, entry.Caller)
	switch {
	case errors.Is(err, errNoHolder):
		if r.open() {
			return nil, errNobody
		}
		return nil, errNoToken
	case err != nil:
		return nil, err
	}
	return entry, nil
}

// authorize asks the caller's policies. Whether a write is a create or an update is settled first.
func (r *run) authorize(ctx context.Context) error {
	if r.open() {
		return nil
	}
	acl, err := r.acl(ctx)
	if err != nil {
		return err
	}
	if r.call.Operation == engines.Help {
		return nil
	}
	if err := r.match.Err(); err != nil {
		return err
	}
	if r.found && r.call.Operation == engines.Update && r.match.ChecksExistence() {
		exists, err := r.match.Exists(ctx, &r.request)
		if errors.Is(err, storage.ErrDamaged) {
			exists, err = true, nil // it is there, though nobody can read it
		}
		if err != nil {
			return r.publish(err)
		}
		if !exists {
			r.request.Operation = engines.Create
		}
	}
	return r.permit(acl, r.found && r.match.Sudo())
}

// acl is what the caller may do.
func (r *run) acl(ctx context.Context) (*policy.ACL, error) {
	acl, err := r.session.aclOf(ctx, r.entry.Caller, r.holder)
	if errors.Is(err, policies.ErrLost) {
		err = lostPolicyError{err}
	}
	return acl, err
}

// authorizeBare asks the caller's policies for a path that no engine serves.
func (r *run) authorizeBare(ctx context.Context, sudo bool) error {
	acl, err := r.acl(ctx)
	if err != nil {
		return err
	}
	return r.permit(acl, sudo)
}

// permit lets the policies decide. Why they refused is for the log; the client learns nothing.
func (r *run) permit(acl *policy.ACL, sudo bool) error {
	asked := policy.Request{
		Capability: r.request.Operation.Capability(),
		Path:       r.call.Path,
		Params:     r.call.Params,
		WrapTTL:    r.call.WrapTTL,
		Now:        r.session.wall(),
	}
	if r.found {
		asked.Spellings = spellings(r.match.Spellings, r.mount.Entry.Path)
		asked.Schema = r.match.Schema(r.request.Operation)
	}
	decision := acl.Decide(asked)
	if r.session.audit.Enabled() {
		recorded := decision // a copy, so that decisions nobody records stay off the heap
		r.decision = &recorded
	}
	if decision.Allowed && (!sudo || decision.Sudo || decision.Root) {
		return nil
	}
	r.session.logger.Debug("denied by policy", "request_id", r.call.ID, "path", r.loggedPath(),
		"operation", r.request.Operation, "reason", decision.Reason)
	return errPolicy
}

// permitted asks for a request under way whether its token still lives, and whether its policies still let it through.
// A token in its last use lives as long as the request.
func (r *run) permitted(ctx context.Context) error {
	alive, err := r.lives(ctx)
	if err != nil {
		return err
	}
	if !alive {
		return errBadToken
	}
	acl, err := r.session.acl(ctx, r.entry.Caller)
	if err != nil {
		return err
	}
	return r.permit(acl, r.match.Sudo())
}

func (r *run) lives(ctx context.Context) (bool, error) {
	if !r.entry.Caller.Batch {
		return r.session.tokens.Alive(ctx, r.entry.ID)
	}
	_, err := r.session.tokens.Authenticate(ctx, r.call.Token)
	if errors.Is(err, token.ErrBadToken) {
		return false, nil
	}
	return err == nil, err
}

// loggedPath is the path as far as something serves it: nobody knows what the rest of another one is, a token perhaps.
func (r *run) loggedPath() string {
	if !r.found && r.mount != nil {
		return r.mount.Entry.Path
	}
	return r.call.Path
}

// spellings are those of a path below a mount, counted from the root.
func spellings(s policy.Spellings, mount string) policy.Spellings {
	if s.FoldFrom < s.FoldTo {
		s.FoldFrom += len(mount)
		s.FoldTo += len(mount)
	}
	if s.Asked != "" {
		s.Asked = mount + s.Asked
	}
	return s
}

// execute runs the handler of the route.
func (r *run) execute(ctx context.Context) (*engines.Response, error) {
	switch {
	case r.mount == nil && r.session.mounts.Lost():
		return nil, mounts.ErrLost
	case r.mount == nil:
		return nil, engines.NotFoundf("no handler for route %q. route entry not found.", r.call.Path)
	case r.call.Operation == engines.Help:
		return r.help()
	case !r.found:
		return nil, engines.ErrUnsupportedPath
	}
	if r.match.IsLogin() {
		return r.login(ctx)
	}
	if r.call.Operation == engines.List {
		ctx = storage.LeaveOut(ctx)
	}
	return r.match.Call(ctx, &r.request)
}

// publish gives an error its final text. A bare sentinel on a path that needs a token is reported in
// the numbered form. What the storage refuses came from the client, since keys are made of names that he chose.
func (r *run) publish(err error) error {
	switch {
	case errors.Is(err, storage.ErrInvalidKey):
		return engines.Invalid("a name is too long, or nothing can have it")
	case errors.Is(err, storage.ErrValueTooLarge):
		return engines.Invalid("what was sent is too large to be stored")
	}
	var public *engines.Error
	if errors.As(err, &public) || r.open() {
		return err
	}
	kinds := [...]error{engines.ErrUnsupported, engines.ErrUnsupportedPath, engines.ErrDenied, engines.ErrInvalid}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return &engines.Error{Kind: kind, Message: engines.Numbered(kind.Error())}
		}
	}
	return err
}

func (r *run) mountType(resp *engines.Response) string {
	if r.mount == nil || r.open() || quiet(resp) {
		return ""
	}
	return r.mount.Entry.Type
}

// quiet reports whether the answer is of the kind that does not name its mount's type.
func quiet(resp *engines.Response) bool {
	return resp != nil && (resp.NoMountType || resp.Status == 404 || resp.Status == 202) // the statuses of HTTP
}

func (r *run) auditEntry() *audit.Entry {
	e := &audit.Entry{Request: &r.request, Path: r.call.Path, Token: r.call.Token, Mount: r.mountEntry(),
		Time: r.session.wall(), Decision: r.decision}
	if r.holder != nil {
		e.IdentityPolicies = r.holder.Policies()
	}
	return e
}

func (r *run) mountEntry() *mounts.Entry {
	if r.mount == nil {
		return nil
	}
	return &r.mount.Entry
}

func (r *run) auditRequest(ctx context.Context, outcome error) error {
	if !r.session.audit.Enabled() {
		return nil
	}
	e := r.auditEntry()
	e.Error = outcome
	return r.session.audit.LogRequest(ctx, e)
}

func (r *run) auditResponse(ctx context.Context, resp *engines.Response, outcome error) error {
	if !r.session.audit.Enabled() {
		return nil
	}
	e := r.auditEntry()
	e.Response, e.Error = resp, outcome
	return r.session.audit.LogResponse(ctx, e)
}

// MayUse asks whether the call's token may do what the call wants with a path that no engine serves.
func (c *Core) MayUse(ctx context.Context, call Call) error {
	s := c.session.Load()
	if s == nil {
		return engines.ErrSealed
	}
	return s.check(ctx, call, false)
}

func (s *session) check(ctx context.Context, call Call, sudo bool) error {
	r := &run{session: s, call: call}
	r.request = engines.Request{ID: call.ID, Operation: call.Operation, Path: call.Path,
		Client: call.Client, Token: call.Token}
	err := r.authenticate(ctx)
	if err == nil {
		err = r.authorizeBare(ctx, sudo)
	}
	if r.counted {
		defer s.endUse(r.entry)
	}
	if auditErr := r.auditRequest(ctx, err); auditErr != nil {
		return auditErr
	}
	return err
}

// endUse ends a counted use of a token, and the token with it when that was its last. The token cannot be
// used again whatever becomes of this; its lease ends it for good.
func (s *session) endUse(e *token.Entry) {
	if err := s.tokens.EndUse(s.ctx, e); err != nil {
		s.logger.Warn("a used-up token could not be revoked", "accessor", e.Caller.Accessor, "error", err)
	}
}
