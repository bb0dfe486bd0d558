package approle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Folders of the mount's storage.
const (
	secretFolder   = "secret/"   // …/<folder of the role>/<name>: the secret ids
	accessorFolder = "accessor/" // …/<name of the accessor>: the place of its secret id
	expiryFolder   = "expires/"  // …/<hour>/<name>: the folder of the role
	goneFolder     = "gone/"     // …/<folder of a role that was deleted>
)

// secretID is what is stored of a secret id, under a keyed hash of its text.
type secretID struct {
	Accessor   string            `json:"accessor"`
	NumUses    int               `json:"num_uses,omitempty"` // 0: without limit
	TTL        time.Duration     `json:"ttl,omitempty"`      // as it was asked for
	Created    time.Time         `json:"created"`
	Updated    time.Time         `json:"updated"`
	Expires    time.Time         `json:"expires"` // zero: never
	Metadata   map[string]string `json:"metadata,omitempty"`
	CIDRs      []string          `json:"cidrs,omitempty"`
	TokenCIDRs []string          `json:"token_cidrs,omitempty"`
}

// errNoSecretID is returned for a secret id that does not exist or has expired.
var errNoSecretID = errors.New("approle: no such secret id")

func (s *secretID) expired(now time.Time) bool { return !s.Expires.IsZero() && !now.Before(s.Expires) }

// clockSlack is how far the clock may go back between two starts.
const clockSlack = 5 * time.Minute

// ended reports whether the secret id is of no use at a time: its end has come, or it was made later than that, under
// a clock that was wrong.
func (s *secretID) ended(now time.Time) bool {
	return s.expired(now) || !s.Expires.IsZero() && s.Created.Sub(now) > clockSlack
}

// place is where a secret id is stored.
type place struct {
	// folder is the role's, name the keyed hash of the secret id.
	folder, name string
}

func (p place) key() string { return secretFolder + p.folder + "/" + p.name }

// encode is what an accessor's record holds.
func (p place) encode() []byte { return []byte(p.folder + "/" + p.name) }

// place finds the place of a secret id of a role, whether or not there is one.
func (e *engine) place(r *role, id string) place {
	return place{folder: r.Folder, name: e.name(ofSecretID, r.Folder, id)}
}

// stored reads a secret id, an expired one too.
func (e *engine) stored(ctx context.Context, at place) (*secretID, error) {
	b, err := e.storage.Get(ctx, at.key())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoSecretID
	}
	if err != nil {
		return nil, err
	}
	return decodeSecretID(b)
}

func decodeSecretID(b []byte) (*secretID, error) {
	s := &secretID{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("approle: a secret id is unreadable: %w", err)
	}
	return s, nil
}

// secretID reads a secret id, or errNoSecretID.
func (e *engine) secretID(ctx context.Context, at place) (*secretID, error) {
	s, err := e.stored(ctx, at)
	if err == nil && s.ended(e.now()) {
		return nil, errNoSecretID
	}
	return s, err
}

// hour is the folder in which the end of a secret id is noted.
func hour(t time.Time) string { return fmt.Sprintf("%010d", t.Unix()/int64(time.Hour/time.Second)) }

// storing are the changes that store a new secret id.
func (e *engine) storing(at place, s *secretID) ([]storage.Op, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("approle: %w", err)
	}
	ops := []storage.Op{
		storage.Put(at.key(), b),
		storage.Put(accessorFolder+e.name(ofAccessor, "", s.Accessor), at.encode()),
	}
	if !s.Expires.IsZero() {
		ops = append(ops, storage.Put(expiryFolder+hour(s.Expires)+"/"+at.name, []byte(at.folder)))
	}
	return ops, nil
}

// removing are the changes that remove a secret id.
func (e *engine) removing(at place, s *secretID) []storage.Op {
	ops := []storage.Op{
		storage.Delete(at.key()), storage.Delete(accessorFolder + e.name(ofAccessor, "", s.Accessor)),
	}
	if !s.Expires.IsZero() {
		ops = append(ops, storage.Delete(expiryFolder+hour(s.Expires)+"/"+at.name))
	}
	return ops
}

// hold keeps a secret id from being changed by others until release is called. Who reads meanwhile does so within
// storage.Prepay.
func (e *engine) hold(at place) (release func()) {
	e.sweeping.RLock()
	unlock := e.secrets.Hold(at.name)
	return func() {
		unlock()
		e.sweeping.RUnlock()
	}
}

// secretParams are the settings of a new secret id.
type secretParams struct {
	roleName
	Metadata   string         `param:"metadata" as:"pairs" help:"An object as JSON text, or pairs k=v; tokens carry it."`
	CIDRs      []string       `param:"cidr_list" as:"network" help:"Networks to log in from, within those of the role."`
	TokenCIDRs []string       `param:"token_bound_cidrs" as:"network" help:"Networks of tokens, within the role's."`
	NumUses    *int           `param:"num_uses" help:"How often it can be used; at most as often as the role says."`
	TTL        *time.Duration `param:"ttl" help:"How long it lives; at most as long as the role says."`
}

func (e *engine) generate(ctx context.Context, _ *engines.Request, p secretParams) (*engines.Response, error) {
	return e.issue(ctx, p, uuid.NewString())
}

type customParams struct {
	secretParams
	SecretID string `param:"secret_id" help:"Text of the secret id."`
}

func (e *engine) generateCustom(ctx context.Context, _ *engines.Request, p customParams) (*engines.Response, error) {
	if p.SecretID == "" {
		return nil, missing("secret_id")
	}
	return e.issue(ctx, p.secretParams, p.SecretID)
}

// issue makes a secret id. The role's lock is held, so that the role is not deleted meanwhile.
func (e *engine) issue(ctx context.Context, p secretParams, id string) (*engines.Response, error) {
	return keylock.Read(ctx, e.roles, engines.FoldASCII(p.Name), func(ctx context.Context) (*engines.Response, error) {
		return e.issueLocked(ctx, p, id)
	})
}

func (e *engine) issueLocked(ctx context.Context, p secretParams, id string) (*engines.Response, error) {
	r, err := e.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return nil, engines.NotFoundf("role %q does not exist", p.Name)
	}
	if err != nil {
		return nil, err
	}
	if !r.BindSecretID {
		return nil, engines.Invalid("bind_secret_id is not set on the role")
	}
	s, err := e.newSecretID(r, p)
	if err != nil {
		return nil, err
	}
	if len(id) > maxID {
		return nil, internal("failed to store secret_id: failed to create HMAC of secret ID: "+
			"value is longer than maximum of %d bytes", maxID)
	}
	at := e.place(r, id)
	defer e.hold(at)()
	var ops []storage.Op
	switch old, err := e.stored(ctx, at); {
	case err == nil && !old.expired(s.Created):
		return nil, internal("failed to store secret_id: SecretID is already registered")
	case err == nil:
		ops = e.removing(at, old)
	case !errors.Is(err, errNoSecretID):
		return nil, err
	}
	more, err := e.storing(at, s)
	if err != nil {
		return nil, err
	}
	if err := e.storage.Apply(ctx, append(ops, more...)...); err != nil {
		return nil, err
	}
	return &engines.Response{Accessor: s.Accessor, Data: map[string]any{
		"secret_id": id, "secret_id_accessor": s.Accessor, "secret_id_num_uses": s.NumUses,
		"secret_id_ttl": engines.WholeSeconds(min(s.TTL, e.ttls.MaxTTL())),
	}}, nil
}

// newSecretID is a secret id by the settings of the role and the request. Its errors are in Vault's words.
func (e *engine) newSecretID(r *role, p secretParams) (*secretID, error) {
	if _, err := parseCIDRs(p.CIDRs); err != nil {
		return nil, internal("failed to validate CIDR blocks: %v", err)
	}
	if err := within(r.Secret.CIDRs, p.CIDRs); err != nil {
		return nil, internal("%v", err)
	}
	if _, err := parseCIDRs(p.TokenCIDRs); err != nil {
		return nil, internal("failed to validate token CIDR blocks: %v", err)
	}
	if err := within(withMasks(r.Token.BoundCIDRs), p.TokenCIDRs); err != nil {
		return nil, internal("%v", err)
	}
	now := e.now().UTC()
	s := &secretID{
		Accessor: uuid.NewString(), NumUses: r.Secret.NumUses, TTL: r.Secret.TTL, Created: now, Updated: now,
		CIDRs: p.CIDRs, TokenCIDRs: p.TokenCIDRs,
	}
	if p.NumUses != nil {
		if *p.NumUses < 0 {
			return nil, engines.Invalid("num_uses cannot be negative")
		}
		if limit := r.Secret.NumUses; limit > 0 && (*p.NumUses == 0 || *p.NumUses > limit) {
			return nil, engines.Invalid("num_uses cannot be higher than the role's secret_id_num_uses")
		}
		s.NumUses = *p.NumUses
	}
	if p.TTL != nil {
		if limit := r.Secret.TTL; limit > 0 && (*p.TTL == 0 || *p.TTL > limit) {
			return nil, engines.Invalid("ttl cannot be longer than the role's secret_id_ttl")
		}
		s.TTL = *p.TTL
	}
	if s.TTL > 0 {
		s.Expires = now.Add(min(s.TTL, e.ttls.MaxTTL()))
	}
	var err error
	if s.Metadata, err = parseMetadata(p.Metadata); err != nil {
		return nil, engines.Invalid("failed to parse metadata: failed to parse the input: %v", err)
	}
	return s, nil
}

// within returns an error unless every network of inner is part of one of outer. No networks at all are no
// bounds.
func within(outer, inner []string) error {
	if len(outer) == 0 || len(inner) == 0 {
		return nil
	}
	bounds, err := parseCIDRs(outer)
	if err != nil {
		return err
	}
	parts, err := parseCIDRs(inner)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if !contained(part, bounds) {
			return fmt.Errorf("failed to verify subset relationship between CIDR blocks on the role %q and CIDR blocks on "+
				"the secret ID %q", outer, inner)
		}
	}
	return nil
}

func contained(part netip.Prefix, bounds []netip.Prefix) bool {
	for _, b := range bounds {
		if b.Bits() <= part.Bits() && b.Contains(part.Addr()) {
			return true
		}
	}
	return false
}

// withMasks writes networks with their masks, single addresses too.
func withMasks(list []netip.Prefix) []string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return texts
}

// prefixes reads networks that were checked when they were stored.
func prefixes(texts []string) ([]netip.Prefix, error) {
	list, err := parseCIDRs(texts)
	if err != nil {
		return nil, fmt.Errorf("approle: stored network: %w", err)
	}
	return list, nil
}

// admits reports whether addr is in one of the networks; no networks admit everybody.
func admits(texts []string, addr netip.Addr) (bool, error) {
	list, err := prefixes(texts)
	return err == nil && auth.Admits(list, addr), err
}
