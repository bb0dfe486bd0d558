package oidc

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"coffer/engines"
	"coffer/server/identity"
)

// Routes are the routes below identity/.
func (s *Store) Routes() []engines.Route {
	return []engines.Route{
		engines.Path("oidc/config", "Read or write the issuer of signed tokens.",
			engines.OnRead(s.readConfig), engines.OnUpdate(s.writeConfig)),
		engines.Path("oidc/key", "List the keys.", engines.OnList(s.listKeys)),
		engines.Path("oidc/key/{name}", "Read, write or delete a key.", engines.Exists(s.keyExists),
			engines.OnRead(s.readKey), engines.OnWrite(s.writeKey), engines.OnDelete(s.deleteKey)),
		engines.Path("oidc/key/{name}/rotate", "Put the next key in the place of the one that signs.",
			engines.OnUpdate(s.rotateKey)),
		engines.Path("oidc/role", "List the roles.", engines.OnList(s.listRoles)),
		engines.Path("oidc/role/{name}", "Read, write or delete a role.", engines.Exists(s.roleExists),
			engines.OnRead(s.readRole), engines.OnWrite(s.writeRole), engines.OnDelete(s.deleteRole)),
		engines.Path("oidc/token/{name}", "Sign a token for the caller, as a role says.", engines.OnRead(s.signToken)),
		engines.Path("oidc/introspect", "Tell whether a signed token is good.", engines.OnUpdate(s.introspectToken)),
		engines.Path("oidc/.well-known/openid-configuration", "Tell others how tokens are signed.",
			engines.OnRead(s.discovery), engines.Unauthenticated()),
		engines.Path("oidc/.well-known/keys", "Tell others with which keys tokens are verified.",
			engines.OnRead(s.publicKeys), engines.Unauthenticated()),
	}
}

// genericName is what a name in a path may look like; anything else is no such path.
var genericName = regexp.MustCompile(`^\w(([\w.-]+)?\w)?$`)

func checkName(name string) error {
	if !genericName.MatchString(name) {
		return engines.ErrUnsupportedPath
	}
	return nil
}

type nameParams struct {
	Name string `path:"name" help:"The name."`
}

type configParams struct {
	Issuer *string `param:"issuer" help:"Scheme, host and port of the issuer; the server's address by default."`
}

const warnIssuer = `If "issuer" is set explicitly, all tokens must be validated against that address, including ` +
	`those issued by secondary clusters. Setting issuer to "" will restore the default behavior of using the cluster's ` +
	`api_addr as the issuer.`

func (s *Store) readConfig(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	issuer, lost := "", false
	if err := s.view(ctx, func() { issuer, lost = s.issuer, s.lost[configKey] }); err != nil {
		return nil, err
	}
	if lost {
		return nil, errLost
	}
	return &engines.Response{Data: map[string]any{"issuer": issuer}}, nil
}

func (s *Store) writeConfig(ctx context.Context, _ *engines.Request, p configParams) (*engines.Response, error) {
	if p.Issuer == nil {
		return &engines.Response{}, nil
	}
	issuer := *p.Issuer
	if issuer != "" && !validIssuer(issuer) {
		return nil, engines.Invalid("invalid issuer, which must include only a scheme, host, and optional port " +
			"(e.g. https://example.com:8200)")
	}
	err := s.change(ctx, func(e *edit) error {
		return s.put(e, configKey, configRecord{Issuer: issuer}, func() { s.issuer = issuer })
	})
	if err != nil {
		return nil, err
	}
	resp := &engines.Response{}
	if issuer != "" {
		resp.Warnings = []string{warnIssuer}
	}
	return resp, nil
}

type keyParams struct {
	Name         string         `path:"name" help:"Name of the key."`
	Rotation     *time.Duration `param:"rotation_period" help:"How often the key is replaced. Default 24h."`
	Verification *time.Duration `param:"verification_ttl" help:"How long an old key is published. Default 24h."`
	Algorithm    *string        `param:"algorithm" help:"RS256, the default, RS384, RS512, ES256, ES384, ES512 or EdDSA."`
	Clients      *[]string      `param:"allowed_client_ids" help:"Client ids of the roles that may use it; * for all."`
}

func (s *Store) keyExists(ctx context.Context, _ *engines.Request, p keyParams) (found bool, err error) {
	if err := checkName(p.Name); err != nil {
		return false, err
	}
	err = s.view(ctx, func() { found = s.keys[p.Name] != nil })
	return found, err
}

func (s *Store) writeKey(ctx context.Context, _ *engines.Request, p keyParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	err := s.change(ctx, func(e *edit) error {
		old := s.keys[p.Name]
		k := &namedKey{Name: p.Name, Algorithm: string(jose.RS256), Rotation: defaultPeriod, Verification: defaultPeriod}
		if old != nil {
			clone := *old
			k = &clone
		}
		p.apply(k)
		if err := s.checkKey(k); err != nil {
			return err
		}
		k, err := k.prepared(old, now)
		if err != nil {
			return err
		}
		return s.putKey(e, k)
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (p *keyParams) apply(k *namedKey) {
	set(&k.Rotation, p.Rotation)
	set(&k.Verification, p.Verification)
	set(&k.Algorithm, p.Algorithm)
	set(&k.Clients, p.Clients)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Store) checkKey(k *namedKey) error {
	_, known := algorithms[k.Algorithm]
	switch {
	case k.Rotation < minPeriod:
		return engines.Invalid("rotation_period must be at least one minute")
	case k.Rotation > maxPeriod || k.Verification > maxPeriods*k.Rotation:
		return engines.Invalid("verification_ttl cannot be longer than %dx rotation_period", maxPeriods)
	case !known:
		return engines.Invalid("unknown signing algorithm %q", k.Algorithm)
	}
	for _, name := range s.rolesOf(k.Name) {
		if s.roles[name].TTL > k.Verification {
			return engines.Invalid("unable to update key %q because it is currently referenced by one or more roles with a "+
				"token ttl greater than %d seconds", k.Name, int64(k.Verification/time.Second))
		}
	}
	return nil
}

// prepared returns the changed key with what is new: a changed algorithm is that of the next key, and a
// changed period counts from now.
func (k *namedKey) prepared(old *namedKey, now time.Time) (*namedKey, error) {
	if k.Signing == nil {
		return k.filled(now)
	}
	var err error
	if k.Algorithm != old.Algorithm {
		k.Next, err = newJWK(k.Algorithm)
	}
	if k.Rotation != old.Rotation {
		k.Due = now.Add(k.Rotation)
	}
	return k, err
}

func (s *Store) readKey(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	var k *namedKey
	if err := s.view(ctx, func() { k = s.keys[p.Name] }); err != nil {
		return nil, err
	}
	if k == nil {
		return nil, s.missing(ctx, keyFolder+p.Name, engines.NotFound())
	}
	return &engines.Response{Data: map[string]any{
		"rotation_period": engines.WholeSeconds(k.Rotation), "verification_ttl": engines.WholeSeconds(k.Verification),
		"algorithm":          k.Algorithm,
		"allowed_client_ids": append([]string{}, k.Clients...),
	}}, nil
}

func (s *Store) deleteKey(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	if p.Name == defaultKey {
		return nil, engines.Invalid("deletion of key %q not allowed", defaultKey)
	}
	err := s.change(ctx, func(e *edit) error {
		if roles := s.rolesOf(p.Name); len(roles) > 0 {
			return engines.Invalid(
				"unable to delete key %q because it is currently referenced by these roles: %s", p.Name, strings.Join(roles, ", "))
		}
		if s.keys[p.Name] == nil {
			return nil
		}
		e.remove(keyFolder+p.Name, func() { delete(s.keys, p.Name) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (s *Store) listKeys(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	var names []string
	if err := s.view(ctx, func() { names = slices.Sorted(maps.Keys(s.keys)) }); err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

type rotateParams struct {
	Name         string         `path:"name" help:"Name of the key."`
	Verification *time.Duration `param:"verification_ttl" help:"How long the old key is published; as set by default."`
}

func (s *Store) rotateKey(ctx context.Context, _ *engines.Request, p rotateParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	err := s.change(ctx, func(e *edit) error {
		k := s.keys[p.Name]
		if k == nil {
			return engines.Invalid("no named key found at %q", p.Name)
		}
		verification := k.Verification
		set(&verification, p.Verification)
		k, err := k.rotated(now, min(verification, maxPeriod))
		if err != nil {
			return err
		}
		return s.putKey(e, k)
	})
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, nil
}

func (s *Store) signToken(ctx context.Context, r *engines.Request, p nameParams) (*engines.Response, error) {
	if err := checkName(p.Name); err != nil {
		return nil, err
	}
	var issuer string
	var found *role
	var lost bool
	if err := s.view(ctx, func() { issuer, found, lost = s.issuerURL(), s.roles[p.Name], s.lost[configKey] }); err != nil {
		return nil, err
	}
	switch {
	case lost:
		return nil, errLost
	case found == nil:
		return nil, s.missing(ctx, roleFolder+p.Name, engines.Invalid("role %q not found", p.Name))
	case r.Caller.EntityID == "":
		return nil, engines.Invalid("no entity associated with the request's token")
	}
	k, err := s.current(ctx, found.Key)
	switch {
	case err != nil:
		return nil, err
	case k == nil:
		return nil, s.missing(ctx, keyFolder+found.Key, engines.Invalid("key %q not found", found.Key))
	case !k.allows(found.Client):
		return nil, engines.Invalid("the key %q does not list the client ID of the role %q as an allowed client ID",
			found.Key, p.Name)
	}
	who, err := s.cfg.Holders.Holder(ctx, r.Caller.EntityID)
	if err != nil {
		return nil, refusal(err)
	}
	s.warnRelative(issuer)
	text, err := sign(k, found, who, issuer, s.cfg.Wall())
	if err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{
		"client_id": found.Client, "token": text, "ttl": engines.WholeSeconds(found.TTL),
	}}, nil
}

// refusal turns an entity that is gone or disabled meanwhile into a refusal.
func refusal(err error) error {
	if identity.Refused(err) {
		return engines.Denied("%s", engines.ErrDenied.Error())
	}
	return err
}

type introspectParams struct {
	Token  string `param:"token" help:"The signed token."`
	Client string `param:"client_id" help:"The client id for which it must be."`
}

// introspection is the answer of oidc/introspect.
type introspection struct {
	Active bool   `json:"active"`
	Error  string `json:"error,omitempty"`
}

func (s *Store) introspectToken(
	ctx context.Context, _ *engines.Request, p introspectParams,
) (*engines.Response, error) {
	why, err := s.introspect(ctx, p.Token, p.Client)
	if err != nil {
		return nil, err
	}
	answer := introspection{Active: why == nil}
	if why != nil {
		answer.Error = why.Error()
	}
	return raw(answer, "")
}

// raw answers with JSON outside the envelope.
func raw(v any, cacheControl string) (*engines.Response, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Raw: &engines.Raw{ContentType: "application/json", Body: b, CacheControl: cacheControl,
		Wrappable: true}}, nil
}

// discovered is the answer of .well-known/openid-configuration (OpenID Connect Discovery 1.0, section 3).
type discovered struct {
	Issuer        string                    `json:"issuer"`
	KeysURI       string                    `json:"jwks_uri"`
	ResponseTypes []string                  `json:"response_types_supported"`
	SubjectTypes  []string                  `json:"subject_types_supported"`
	Algorithms    []jose.SignatureAlgorithm `json:"id_token_signing_alg_values_supported"`
}

func (s *Store) discovery(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	var issuer string
	var lost bool
	if err := s.view(ctx, func() { issuer, lost = s.issuerURL(), s.lost[configKey] }); err != nil {
		return nil, err
	}
	if lost {
		return nil, errLost
	}
	s.warnRelative(issuer)
	return raw(discovered{
		Issuer: issuer, KeysURI: issuer + "/.well-known/keys", ResponseTypes: []string{"id_token"},
		SubjectTypes: []string{"public"}, Algorithms: algorithmNames(),
	}, "max-age=3600")
}

// publicKeys shows the keys that roles use: those that signed, sign and will sign next.
func (s *Store) publicKeys(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	now := s.cfg.Now()
	err := s.view(ctx, func() {
		for _, name := range slices.Sorted(maps.Keys(s.keys)) {
			if len(s.rolesOf(name)) > 0 {
				set.Keys = append(set.Keys, s.keys[name].public(now)...)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return raw(set, "")
}
