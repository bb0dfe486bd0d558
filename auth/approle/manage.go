package approle

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// page is how many secret ids one step looks at.
const page = 256

// listed is the answer for a role that is not there, where Vault does not write it for the client.
func (e *engine) listed(ctx context.Context, name string) (*role, error) {
	r, err := e.role(ctx, name)
	if errors.Is(err, errNoRole) {
		return nil, internal("role %q does not exist", name)
	}
	return r, err
}

// listSecretIDs answers with the accessors of a role's secret ids.
func (e *engine) listSecretIDs(ctx context.Context, _ *engines.Request, p roleName) (*engines.Response, error) {
	r, err := e.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return nil, engines.Invalid("role %q does not exist", p.Name)
	}
	if err != nil {
		return nil, err
	}
	names, err := e.storage.List(ctx, secretFolder+r.Folder+"/", "", 0)
	if err != nil {
		return nil, err
	}
	accessors := make([]string, 0, len(names))
	for _, name := range names {
		s, err := e.secretID(ctx, place{r.Folder, name})
		if errors.Is(err, errNoSecretID) || errors.Is(err, storage.ErrDamaged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		accessors = append(accessors, s.Accessor)
	}
	slices.Sort(accessors)
	return engines.ListResponse(accessors)
}

// show is what a lookup answers. The secret id itself nobody knows but who holds it.
func (s *secretID) show() *engines.Response {
	metadata := s.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	return &engines.Response{Data: map[string]any{
		"secret_id_accessor": s.Accessor,
		"secret_id_num_uses": s.NumUses,
		"secret_id_ttl":      engines.WholeSeconds(s.TTL),
		"creation_time":      s.Created.Format(time.RFC3339Nano),
		"expiration_time":    s.Expires.Format(time.RFC3339Nano),
		"last_updated_time":  s.Updated.Format(time.RFC3339Nano),
		"metadata":           metadata,
		"cidr_list":          append([]string{}, s.CIDRs...),
		"token_bound_cidrs":  append([]string{}, s.TokenCIDRs...),
	}}
}

type secretIDParams struct {
	roleName
	SecretID string `param:"secret_id" help:"The secret id."`
}

type accessorParams struct {
	roleName
	Accessor string `param:"secret_id_accessor" help:"The accessor of the secret id."`
}

func (e *engine) lookup(ctx context.Context, _ *engines.Request, p secretIDParams) (*engines.Response, error) {
	r, at, err := e.bySecretID(ctx, p)
	if err != nil {
		return nil, err
	}
	return e.shown(ctx, r, at)
}

// shown answers with a secret id of the role, and with nothing when there is none at the place.
func (e *engine) shown(ctx context.Context, r *role, at place) (*engines.Response, error) {
	if at.folder != r.Folder {
		return &engines.Response{}, nil
	}
	s, err := e.secretID(ctx, at)
	if errors.Is(err, errNoSecretID) {
		return &engines.Response{}, nil
	}
	if err != nil {
		return nil, err
	}
	return s.show(), nil
}

// bySecretID finds the role and the place of a secret id.
func (e *engine) bySecretID(ctx context.Context, p secretIDParams) (*role, place, error) {
	if p.SecretID == "" {
		return nil, place{}, missing("secret_id")
	}
	r, err := e.listed(ctx, p.Name)
	if err != nil {
		return nil, place{}, err
	}
	if len(p.SecretID) > maxID {
		return nil, place{}, internal("failed to create HMAC of secret_id: value is longer than maximum of %d bytes", maxID)
	}
	return r, e.place(r, p.SecretID), nil
}

// byAccessor finds the role and the place of the secret id with an accessor, or errNoSecretID. The place may be
// another role's: whoever changes or shows it must compare.
func (e *engine) byAccessor(ctx context.Context, p accessorParams) (*role, place, error) {
	if p.Accessor == "" {
		return nil, place{}, missing("secret_id_accessor")
	}
	r, err := e.listed(ctx, p.Name)
	if err != nil {
		return nil, place{}, err
	}
	b, err := e.storage.Get(ctx, accessorFolder+e.name(ofAccessor, "", p.Accessor))
	if errors.Is(err, storage.ErrNotFound) {
		return r, place{}, errNoSecretID
	}
	if err != nil {
		return nil, place{}, err
	}
	folder, name, _ := strings.Cut(string(b), "/")
	return r, place{folder, name}, nil
}

const noAccessor = "failed to find accessor entry for secret_id_accessor: %q"

func (e *engine) lookupAccessor(ctx context.Context, _ *engines.Request, p accessorParams) (*engines.Response, error) {
	r, at, err := e.byAccessor(ctx, p)
	if errors.Is(err, errNoSecretID) {
		text := engines.Invalid(noAccessor, p.Accessor).Error()
		return &engines.Response{Status: http.StatusNotFound, Data: map[string]any{"error": text}}, nil
	}
	if err != nil {
		return nil, err
	}
	return e.shown(ctx, r, at)
}

func (e *engine) destroy(ctx context.Context, _ *engines.Request, p secretIDParams) (*engines.Response, error) {
	_, at, err := e.bySecretID(ctx, p)
	if err != nil {
		return nil, err
	}
	err = e.remove(ctx, at)
	if errors.Is(err, errNoSecretID) {
		err = nil
	}
	return &engines.Response{}, err
}

func (e *engine) destroyAccessor(ctx context.Context, _ *engines.Request, p accessorParams) (*engines.Response, error) {
	r, at, err := e.byAccessor(ctx, p)
	if errors.Is(err, errNoSecretID) {
		return nil, internal(noAccessor, p.Accessor)
	}
	if err != nil {
		return nil, err
	}
	if at.folder == r.Folder {
		err = e.remove(ctx, at)
	} else {
		err = errNoSecretID
	}
	if errors.Is(err, errNoSecretID) {
		return nil, engines.Denied("invalid secret id accessor")
	}
	return &engines.Response{}, err
}

// remove removes a secret id, or returns errNoSecretID.
func (e *engine) remove(ctx context.Context, at place) error {
	return storage.Prepay(ctx, func(ctx context.Context) error {
		defer e.hold(at)()
		s, err := e.stored(ctx, at)
		if err != nil {
			return err
		}
		return e.storage.Apply(ctx, e.removing(at, s)...)
	})
}
