package approle

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Folders of the mount's storage.
const (
	roleFolder   = "role/"
	roleIDFolder = "role-id/"
)

// maxID bounds role ids and secret ids, in bytes.
const maxID = 4096

// role is what is stored of a role.
type role struct {
	// Name is in lower case.
	Name string `json:"-"`
	// Folder names the role for as long as it lives: a new role of the same name has another one.
	Folder       string             `json:"folder"`
	RoleID       string             `json:"role_id"`
	BindSecretID bool               `json:"bind_secret_id,omitempty"`
	Local        bool               `json:"local,omitempty"`
	Secret       secretSettings     `json:"secret"`
	Token        auth.TokenSettings `json:"token"`
}

// secretSettings are what a role says of its secret ids.
type secretSettings struct {
	// CIDRs are the networks to log in from, as they were written.
	CIDRs   []string      `json:"cidrs,omitempty"`
	NumUses int           `json:"num_uses,omitempty"`
	TTL     time.Duration `json:"ttl,omitempty"`
}

var (
	// errNoRole is returned for a role that does not exist.
	errNoRole       = errors.New("approle: no such role")
	errUnconstraint = internal("at least one constraint should be enabled on the role")
	errRoleIDTaken  = internal("role_id already in use")
)

// roleName is the path of every route of a role.
type roleName struct {
	Name string `path:"role_name" help:"Name of the role; upper and lower case are the same."`
}

// role returns a role, or errNoRole. A name that no role can have is an ErrUnsupportedPath.
func (e *engine) role(ctx context.Context, name string) (*role, error) {
	if !auth.ValidName(name) {
		return nil, engines.ErrUnsupportedPath
	}
	name = engines.FoldASCII(name)
	b, err := e.storage.Get(ctx, roleFolder+name)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return nil, errNoRole
	}
	if err != nil {
		return nil, err
	}
	return decodeRole(name, b)
}

func decodeRole(name string, b []byte) (*role, error) {
	r := &role{Name: name}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("approle: role %s is unreadable: %w", name, err)
	}
	return r, nil
}

// roleOfID finds the role with a role id, or errNoRole.
func (e *engine) roleOfID(ctx context.Context, id string) (*role, error) {
	if len(id) > maxID {
		return nil, errNoRole
	}
	name, err := e.storage.Get(ctx, roleIDFolder+e.name(ofRoleID, "", id))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoRole
	}
	if err != nil {
		return nil, err
	}
	r, err := e.role(ctx, string(name))
	if err == nil && subtle.ConstantTimeCompare([]byte(r.RoleID), []byte(id)) != 1 {
		return nil, errNoRole // the role has got another id since
	}
	return r, err
}

// put stores a role whose lock is held. before is the role id it had, "" for a new role.
func (e *engine) put(ctx context.Context, r *role, before string) error {
	if !r.BindSecretID && len(r.Secret.CIDRs) == 0 && len(r.Token.BoundCIDRs) == 0 {
		return errUnconstraint
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("approle: role %s: %w", r.Name, err)
	}
	ops := []storage.Op{storage.Put(roleFolder+r.Name, b)}
	if before == r.RoleID {
		return e.storage.Apply(ctx, ops...)
	}
	e.roleIDs.Lock()
	defer e.roleIDs.Unlock()
	key := roleIDFolder + e.name(ofRoleID, "", r.RoleID)
	switch _, err := e.storage.Get(ctx, key); {
	case err == nil:
		return errRoleIDTaken
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	ops = append(ops, storage.Put(key, []byte(r.Name)))
	if before != "" {
		ops = append(ops, storage.Delete(roleIDFolder+e.name(ofRoleID, "", before)))
	}
	return e.storage.Apply(ctx, ops...)
}

func (e *engine) listRoles(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	names, err := e.storage.List(ctx, roleFolder, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (e *engine) roleExists(ctx context.Context, _ *engines.Request, p roleName) (bool, error) {
	_, err := e.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return false, nil
	}
	return err == nil, err
}

// readable is the answer of a read for a role that is not there.
func readable(err error) error {
	if errors.Is(err, errNoRole) {
		return engines.NotFound()
	}
	return err
}

func (e *engine) readRole(ctx context.Context, _ *engines.Request, p roleName) (*engines.Response, error) {
	r, err := e.role(ctx, p.Name)
	if err != nil {
		return nil, readable(err)
	}
	data := map[string]any{
		"bind_secret_id":        r.BindSecretID,
		"local_secret_ids":      r.Local,
		"secret_id_bound_cidrs": r.Secret.CIDRs,
		"secret_id_num_uses":    r.Secret.NumUses,
		"secret_id_ttl":         engines.WholeSeconds(r.Secret.TTL),
	}
	r.Token.Show(data)
	return &engines.Response{Data: data}, nil
}

// roleParams are the settings of a role. What is not sent stays as it is.
type roleParams struct {
	roleName
	auth.TokenParams
	RoleID       *string        `param:"role_id" help:"What names the role at login; random unless given."`
	BindSecretID *bool          `param:"bind_secret_id" help:"Whether a login needs a secret id. Default true."`
	CIDRs        *[]string      `param:"secret_id_bound_cidrs" as:"network" help:"Networks to log in from."`
	OldCIDRs     *[]string      `param:"bound_cidr_list" old:"secret_id_bound_cidrs" as:"network"`
	NumUses      *int           `param:"secret_id_num_uses" help:"How often a secret id can be used; 0 for without limit."`
	TTL          *time.Duration `param:"secret_id_ttl" help:"How long a secret id lives; 0 for ever."`
	Local        *bool          `param:"local_secret_ids" help:"Whether secret ids stay in this cluster; at creation."`
	OldPolicies  *[]string      `param:"policies" old:"token_policies" as:"name"`
	OldPeriod    *time.Duration `param:"period" old:"token_period"`
}

func (e *engine) writeRole(ctx context.Context, _ *engines.Request, p roleParams) (*engines.Response, error) {
	return keylock.Write(ctx, e.roles, engines.FoldASCII(p.Name), func(ctx context.Context) (*engines.Response, error) {
		return e.writeRoleLocked(ctx, p)
	})
}

func (e *engine) writeRoleLocked(ctx context.Context, p roleParams) (*engines.Response, error) {
	r, err := e.role(ctx, p.Name)
	before := ""
	switch {
	case err == nil:
		before = r.RoleID
		if p.Local != nil {
			return nil, engines.Invalid("local_secret_ids can only be modified during role creation")
		}
	case errors.Is(err, errNoRole):
		r = &role{Name: engines.FoldASCII(p.Name), Folder: uuid.NewString(), RoleID: uuid.NewString(), BindSecretID: true}
	default:
		return nil, err
	}
	warnings, err := e.apply(r, p)
	if err != nil {
		return nil, err
	}
	if err := e.put(ctx, r, before); err != nil {
		return nil, err
	}
	return &engines.Response{Warnings: warnings}, nil
}

// apply puts what was sent into the role. Its warnings are in Vault's words.
func (e *engine) apply(r *role, p roleParams) (warnings []string, err error) {
	if p.Type != nil {
		if typ, ok := strings.CutPrefix(*p.Type, "default-"); ok && (typ == "service" || typ == "batch") {
			warnings = append(warnings, *p.Type+" has no useful meaning; adjusting to "+typ)
			p.Type = &typ
		}
	}
	if err := r.Token.Set(p.TokenParams, auth.OldTokenParams{Policies: p.OldPolicies, Period: p.OldPeriod}); err != nil {
		return nil, err
	}
	set(&r.Local, p.Local)
	set(&r.RoleID, p.RoleID)
	set(&r.BindSecretID, p.BindSecretID)
	set(&r.Secret.NumUses, p.NumUses)
	set(&r.Secret.TTL, p.TTL)
	switch {
	case r.RoleID == "":
		return nil, engines.Invalid("invalid role_id supplied, or failed to generate a role_id")
	case len(r.RoleID) > maxID:
		return nil, engines.Invalid("role_id is longer than maximum of %d bytes", maxID)
	}
	if cidrs := first(p.CIDRs, p.OldCIDRs); cidrs != nil {
		if _, err := parseCIDRs(*cidrs); err != nil {
			return nil, internal("failed to validate CIDR blocks: %v", err)
		}
		r.Secret.CIDRs = *cidrs
	}
	if r.Secret.NumUses < 0 {
		return nil, engines.Invalid("secret_id_num_uses cannot be negative")
	}
	if limit := e.ttls.MaxTTL(); p.OldPeriod != nil && r.Token.Period > limit {
		return nil, errPeriod(r.Token.Period, limit)
	}
	if r.Token.MaxTTL > e.ttls.MaxTTL() {
		warnings = append(warnings, "token_max_ttl is greater than the backend mount's maximum TTL value; "+
			"issued tokens' max TTL value will be truncated")
	}
	return warnings, nil
}

func errPeriod(period, limit time.Duration) error {
	return engines.Invalid("period of %q is greater than the backend's maximum lease TTL of %q", period, limit)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// first returns the first that was sent.
func first[T any](options ...*T) *T {
	for _, o := range options {
		if o != nil {
			return o
		}
	}
	return nil
}

// parseCIDRs reads networks that need a mask.
func parseCIDRs(texts []string) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid CIDR address: %s", text)
		}
		list[i] = p
	}
	return list, nil
}

// deleteRole removes a role. Its secret ids are worthless from then on, for their folder belongs to no role; the
// sweeper removes them.
func (e *engine) deleteRole(ctx context.Context, _ *engines.Request, p roleName) (*engines.Response, error) {
	return keylock.Write(ctx, e.roles, engines.FoldASCII(p.Name), func(ctx context.Context) (*engines.Response, error) {
		return e.deleteRoleLocked(ctx, p)
	})
}

func (e *engine) deleteRoleLocked(ctx context.Context, p roleName) (*engines.Response, error) {
	r, err := e.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return &engines.Response{}, nil
	}
	if err != nil {
		return nil, err
	}
	err = e.storage.Apply(ctx, storage.Delete(roleFolder+r.Name),
		storage.Delete(roleIDFolder+e.name(ofRoleID, "", r.RoleID)), storage.Put(goneFolder+r.Folder, nil))
	if err != nil {
		return nil, err
	}
	e.wake()
	return &engines.Response{}, nil
}
