package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"coffer/auth"
	"coffer/engines"
)

// Keys of a login's metadata.
const (
	metaUID       = "service_account_uid"
	metaName      = "service_account_name"
	metaNamespace = "service_account_namespace"
	metaSecret    = "service_account_secret_name"
	metaRole      = "role"
)

// annotationPrefix begins the annotations that become metadata of an alias.
const annotationPrefix = "vault.hashicorp.com/alias-metadata-"

// internalRole is where a token remembers its role.
const internalRole = "role"

// What clients are told, in Vault's words.
var (
	// errDenied is for those who could learn from more.
	errDenied     = engines.Denied("permission denied")
	errNamespace  = engines.Denied("namespace not authorized")
	errNoReviewer = engines.Denied("namespace not authorized err=namespace lookup failed: TokenReviewer JWT needs " +
		"to be configured to use namespace selectors")
)

type loginParams struct {
	Role string `param:"role" help:"Name of the role."`
	JWT  string `param:"jwt" help:"Token of the ServiceAccount."`
}

// refusal is a login that failed: what the client is told, and why, which is for the log.
type refusal struct {
	told  error
	check string
	cause error
}

// Error implements error.
func (r *refusal) Error() string {
	if r.cause == nil {
		return r.check
	}
	return r.check + ": " + r.cause.Error()
}

// Unwrap is what the client is told.
func (r *refusal) Unwrap() error { return r.told }

func (m *method) login(ctx context.Context, req *engines.Request, p loginParams) (*engines.Response, error) {
	if p.Role == "" {
		return nil, engines.Invalid("missing role")
	}
	if p.JWT == "" {
		return nil, engines.Invalid("missing jwt")
	}
	r, err := m.role(ctx, p.Role)
	if errors.Is(err, errNoRole) {
		return nil, engines.Invalid("invalid role name %q", p.Role)
	}
	if err != nil {
		return nil, err
	}
	a := &attempt{method: m, role: r, name: p.Role, token: engines.NewToken(p.JWT)}
	login, err := a.run(ctx, req)
	if err != nil {
		return nil, a.report(ctx, req, err)
	}
	login.StillGood = auth.All(
		auth.Unchanged(r, errNoRole, func(ctx context.Context) (*role, error) { return m.role(ctx, p.Role) }),
		func(ctx context.Context) error { return a.again(ctx, req) })
	return &engines.Response{Login: login}, nil
}

// attempt is one login on its way.
type attempt struct {
	*method
	role  *role
	name  string
	token engines.Token
	// claims is nil until the token has been read.
	claims *claims
}

// report logs why a login failed and returns what the client is told.
func (a *attempt) report(ctx context.Context, req *engines.Request, err error) error {
	var refused *refusal
	if !errors.As(err, &refused) {
		return err
	}
	level := slog.LevelInfo
	if errors.Is(refused.cause, errUnavailable) {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("request_id", req.ID), slog.String("role", a.name),
		slog.String("check", refused.check)}
	if refused.cause != nil {
		attrs = append(attrs, slog.String("cause", refused.cause.Error()))
	}
	if a.claims != nil {
		attrs = append(attrs, slog.String("namespace", short(a.claims.account.namespace)),
			slog.String("service_account", short(a.claims.account.name)))
	}
	a.log.LogAttrs(ctx, level, "login refused", attrs...)
	return refused.told
}

// short bounds a name that the client made up.
func short(name string) string {
	const longest = 64
	if len(name) > longest {
		return name[:longest] + "…"
	}
	return name
}

// run does the checks: what the token says of itself first, then what the API server says of it.
func (a *attempt) run(ctx context.Context, req *engines.Request) (*engines.Login, error) {
	if !a.role.Token.Admits(req.Client.Addr) {
		return nil, &refusal{told: errDenied, check: "the client's address is not in the role's networks"}
	}
	c, err := a.settings(ctx)
	if errors.Is(err, errNoConfig) {
		return nil, engines.Failed("could not load backend configuration")
	}
	if err != nil {
		return nil, err
	}
	if err := a.read(c); err != nil {
		return nil, err
	}
	annotations, err := a.confirm(ctx, c)
	if err != nil {
		return nil, err
	}
	return a.grant(annotations), nil
}

// again does the checks once more, for a login that waited: the ServiceAccount may have been deleted.
func (a *attempt) again(ctx context.Context, req *engines.Request) error {
	b := &attempt{method: a.method, role: a.role, name: a.name, token: a.token}
	if _, err := b.run(ctx, req); err != nil {
		return b.report(ctx, req, err)
	}
	return nil
}

// read decodes the token and checks everything that needs no API server.
func (a *attempt) read(c *config) (err error) {
	a.claims, err = parseJWT(a.token, c.keys)
	switch {
	case errors.Is(err, errUnsigned):
		return &refusal{told: errUnsigned, check: "the token", cause: err}
	case err != nil:
		return &refusal{told: errDenied, check: "the token", cause: err}
	}
	issuer := c.Issuer
	if c.DisableIssuer {
		issuer = ""
	}
	if err := a.claims.check(issuer, a.role.Audience, a.now()); err != nil {
		return &refusal{told: err, check: "the token's claims", cause: err}
	}
	who := a.claims.account
	if !auth.MatchesAny(a.role.Names, who.name) {
		return &refusal{told: engines.Denied("service account name not authorized"),
			check: "the role's bound_service_account_names"}
	}
	if a.role.Selector == "" && !a.namespaceBound() {
		return &refusal{told: errNamespace, check: "the role's bound_service_account_namespaces"}
	}
	if who.uid == "" && a.role.Alias == aliasUID {
		return engines.Failed("could not parse UID from claims")
	}
	return nil
}

func (a *attempt) namespaceBound() bool {
	return auth.MatchesAny(a.role.Namespaces, a.claims.account.namespace)
}

// confirm asks the API server about the token. It returns the alias metadata from the ServiceAccount's
// annotations, nil where they are not wanted.
func (a *attempt) confirm(ctx context.Context, c *config) (map[string]string, error) {
	const check = "the token review"
	server, err := a.clusterOf(c)
	if err != nil {
		a.log.Error("the Kubernetes API server cannot be used", "error", err)
		return nil, engines.Failed("the CA of the Kubernetes API server cannot be read")
	}
	ctx, cancel := context.WithTimeoutCause(quiet(ctx), a.patience, errTimeout)
	defer cancel()
	leave, err := a.gate.enter(ctx)
	if err != nil {
		return nil, &refusal{told: errDenied, check: check, cause: fmt.Errorf("%w: %w", errUnavailable, err)}
	}
	defer leave()
	reviewer := a.reviewerOf(server)
	as := reviewer
	if as.IsZero() {
		as = a.token
	}
	k := &call{cluster: server, bearer: as.Reveal()}
	audiences := []string(a.claims.Audience)
	if a.role.Audience != "" {
		audiences = []string{a.role.Audience}
	}
	who, err := k.review(ctx, a.token, audiences)
	if err != nil {
		return nil, &refusal{told: errDenied, check: check, cause: err}
	}
	if claimed := a.claims.account; claimed.namespace != who.namespace || claimed.name != who.name ||
		claimed.uid != who.uid || who.uid == "" {
		return nil, &refusal{told: errDenied, check: "the reviewed identity is not the token's"}
	}
	if !a.namespaceBound() {
		if reviewer.IsZero() {
			return nil, &refusal{told: errNoReviewer, check: selectorCheck, cause: errNoReviewer}
		}
		if err := a.namespaceSelected(ctx, k); err != nil {
			return nil, &refusal{told: errNamespace, check: selectorCheck, cause: err}
		}
	}
	if !c.AnnotationsAsMetadata {
		return nil, nil //nolint:nilnil // no annotations are wanted
	}
	return a.annotations(ctx, k, who)
}

const selectorCheck = "the role's bound_service_account_namespace_selector"

// Causes of refusals.
var (
	errTimeout = errors.New("it takes too long to answer")
	errLabels  = errors.New("the namespace has not those labels")
)

// namespaceSelected returns nil when the role's selector fits the namespace's labels.
func (a *attempt) namespaceSelected(ctx context.Context, k *call) error {
	s, err := parseSelector(a.role.Selector)
	if err != nil {
		return err
	}
	labels, err := k.namespaceLabels(ctx, a.claims.account.namespace)
	if err != nil {
		return err
	}
	if !s.matches(labels) {
		return errLabels
	}
	return nil
}

// annotations are the alias metadata that the ServiceAccount asks for.
func (a *attempt) annotations(ctx context.Context, k *call, who account) (map[string]string, error) {
	all, err := k.accountAnnotations(ctx, who)
	if err != nil {
		return nil, &refusal{told: engines.Failed("failed to get service account"), check: "the annotations", cause: err}
	}
	found := make(map[string]string)
	var reserved []string
	for name, value := range all {
		key, ok := strings.CutPrefix(name, annotationPrefix)
		switch {
		case !ok:
		case slices.Contains([]string{metaUID, metaName, metaNamespace, metaSecret}, key):
			reserved = append(reserved, key)
		default:
			found[key] = value
		}
	}
	if len(reserved) > 0 {
		slices.Sort(reserved)
		err := engines.Invalid("entity alias metadata keys for only internal use found from the client token's "+
			"associated service account annotations: keys=%+q", reserved)
		return nil, &refusal{told: err, check: "the annotations", cause: err}
	}
	return found, nil
}

// grant is the login of who was confirmed.
func (a *attempt) grant(annotations map[string]string) *engines.Login {
	who := a.claims.account
	login := a.role.Token.Login()
	login.DisplayName = who.namespace + "-" + who.name
	login.Alias = who.uid
	if a.role.Alias == aliasName {
		login.Alias = who.namespace + "/" + who.name
	}
	login.Metadata = map[string]string{
		metaUID: who.uid, metaName: who.name, metaNamespace: who.namespace, metaSecret: who.secret,
	}
	login.AliasMetadata = maps.Clone(login.Metadata)
	maps.Copy(login.AliasMetadata, annotations)
	login.Metadata[metaRole] = a.name
	login.Internal = map[string]any{internalRole: a.name}
	return login
}

// RenewLogin implements engines.LoginRenewer: a token gets what its role grants now.
func (m *method) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, error) {
	name, _ := r.Internal[internalRole].(string)
	current, err := m.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return nil, engines.Failed("role %s does not exist during renewal", name)
	}
	if err != nil {
		return nil, err
	}
	login := current.Token.Login()
	if login.TTL == 0 {
		login.TTL = m.ttls.DefaultTTL() // not what the token was given last
	}
	return login, nil
}
