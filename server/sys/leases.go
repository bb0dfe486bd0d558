package sys

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"coffer/engines"
	"coffer/server/leases"
	"coffer/storage"
)

// Leases is the lease manager; *leases.Manager is one.
type Leases interface {
	LeaseKeeper
	LeaseEnder
	LeaseCleaner
}

// LeaseKeeper reads and renews leases.
type LeaseKeeper interface {
	// Lookup returns leases.ErrNotFound for a lease that does not exist.
	Lookup(ctx context.Context, id string) (leases.Lease, error)
	// List returns the names one level below prefix, which is "" or ends in "/".
	List(ctx context.Context, prefix string) ([]string, error)
	// Renew returns the lease as it is now and the engine's warnings.
	Renew(ctx context.Context, id string, increment time.Duration) (leases.Lease, []string, error)
	// Irrevocable returns the leases that could not be revoked, at most limit of them (0: all), and how
	// many there are.
	Irrevocable(ctx context.Context, limit int) ([]leases.Lease, int, error)
}

// LeaseEnder revokes leases. What does not exist is revoked. The methods with Later return when the
// revocation is settled but not yet done.
type LeaseEnder interface {
	Revoke(ctx context.Context, id string) error
	RevokeLater(ctx context.Context, ids ...string) error
	RevokePrefix(ctx context.Context, prefix string) error
	RevokePrefixLater(ctx context.Context, prefix string) error
}

// LeaseCleaner puts an end to what is stuck.
type LeaseCleaner interface {
	// RevokeForce revokes all leases below a path and forgets those that cannot be revoked.
	RevokeForce(ctx context.Context, prefix string) error
	// Tidy starts looking for what a fault may have left; false when it is running already.
	Tidy(session context.Context) bool
}

func (e *engine) leaseRoutes() []engines.Route {
	routes := []engines.Route{
		engines.Path("leases", "List the leases that cannot be revoked.", engines.Sudo(), engines.OnRead(e.listIrrevocable)),
		engines.Path("leases/count", "Count the leases that cannot be revoked.", engines.OnRead(e.countIrrevocable)),
		engines.Path("leases/tidy", "Clean up what a fault may have left.", engines.OnUpdate(e.tidyLeases)),
		engines.Path("leases/lookup", "Tell about a lease.", engines.OnUpdate(e.lookupLease)),
		engines.Path("leases/lookup/{prefix...}", "List the leases below a path.",
			engines.Sudo(), engines.OnList(e.listLeases)),
	}
	// Vault's older clients use the paths without "leases/".
	for _, folder := range []string{"leases/", ""} {
		routes = append(routes,
			engines.Path(folder+"renew", "Renew a lease.", engines.OnUpdate(e.renewLease)),
			engines.Path(folder+"renew/{lease_id+}", "Renew a lease.", engines.OnUpdate(e.renewLeaseAt)),
			engines.Path(folder+"revoke", "Revoke a lease.", engines.OnUpdate(e.revokeLease)),
			engines.Path(folder+"revoke/{lease_id+}", "Revoke a lease.", engines.OnUpdate(e.revokeLeaseAt)),
			engines.Path(folder+"revoke-prefix/{prefix+}", "Revoke all leases below a path.", engines.Sudo(),
				engines.OnUpdate(e.revokePrefix)),
			engines.Path(folder+"revoke-force/{prefix+}", "Revoke all leases below a path, or forget them.",
				engines.Sudo(), engines.OnUpdate(e.revokeForce)),
		)
	}
	return routes
}

type leaseParams struct {
	LeaseID string `param:"lease_id" help:"Id of the lease."`
}

// checkLeaseID refuses what cannot be the id of a lease before it is used as a storage key.
func checkLeaseID(id string) error {
	if id == "" {
		return engines.Invalid("lease_id must be specified")
	}
	if len(id) > storage.MinMaxKeySize || storage.CheckKey(id) != nil {
		return leases.ErrNotFound
	}
	return nil
}

func (e *engine) lookupLease(ctx context.Context, _ *engines.Request, p leaseParams) (*engines.Response, error) {
	err := checkLeaseID(p.LeaseID)
	var lease leases.Lease
	if err == nil {
		lease, err = e.Leases.Lookup(ctx, p.LeaseID)
	}
	switch {
	case errors.Is(err, leases.ErrNotFound):
		return nil, engines.Invalid("invalid lease")
	case err != nil:
		return nil, err
	}
	return read(map[string]any{
		"id":           lease.ID,
		"issue_time":   timestamp(lease.Issued),
		"expire_time":  timestamp(lease.Expires),
		"last_renewal": timestamp(lease.Renewed),
		"renewable":    lease.Renewable,
		"ttl":          engines.WholeSeconds(lease.TTL(e.Now())),
	})
}

type leasePrefixParams struct {
	Prefix string `path:"prefix" help:"Path that issued the leases."`
}

func (e *engine) listLeases(ctx context.Context, _ *engines.Request, p leasePrefixParams) (*engines.Response, error) {
	names, err := e.Leases.List(ctx, p.Prefix)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

type renewParams struct {
	LeaseID   string        `param:"lease_id" help:"Id of the lease."`
	Increment time.Duration `param:"increment" help:"Time to live from now on that is wished for."`
}

type renewAtParams struct {
	LeaseID   string        `path:"lease_id" help:"Id of the lease."`
	Increment time.Duration `param:"increment" help:"Time to live from now on that is wished for."`
}

func (e *engine) renewLeaseAt(ctx context.Context, r *engines.Request, p renewAtParams) (*engines.Response, error) {
	return e.renewLease(ctx, r, renewParams(p))
}

func (e *engine) renewLease(ctx context.Context, _ *engines.Request, p renewParams) (*engines.Response, error) {
	if err := checkLeaseID(p.LeaseID); err != nil {
		return nil, err
	}
	lease, warnings, err := e.Leases.Renew(ctx, p.LeaseID, p.Increment)
	if err != nil {
		return nil, err
	}
	return &engines.Response{
		Secret:   &engines.Secret{LeaseID: lease.ID, TTL: lease.TTL(e.Now()), Renewable: lease.Renewable},
		Warnings: warnings,
	}, nil
}

type revokeParams struct {
	LeaseID string `param:"lease_id" help:"Id of the lease."`
	Sync    *bool  `param:"sync" help:"Answer when the lease is revoked, the default, or when that is settled."`
}

type revokeAtParams struct {
	LeaseID string `path:"lease_id" help:"Id of the lease."`
	Sync    *bool  `param:"sync" help:"Answer when the lease is revoked, the default, or when that is settled."`
}

func (e *engine) revokeLeaseAt(ctx context.Context, r *engines.Request, p revokeAtParams) (*engines.Response, error) {
	return e.revokeLease(ctx, r, revokeParams(p))
}

func (e *engine) revokeLease(ctx context.Context, _ *engines.Request, p revokeParams) (*engines.Response, error) {
	err := checkLeaseID(p.LeaseID)
	switch {
	case errors.Is(err, leases.ErrNotFound):
		err = nil
	case err != nil:
	case later(p.Sync):
		err = e.Leases.RevokeLater(ctx, p.LeaseID)
	default:
		err = e.Leases.Revoke(ctx, p.LeaseID)
	}
	if err != nil {
		return nil, err
	}
	return revoked(p.Sync)
}

func later(sync *bool) bool { return sync != nil && !*sync }

// revoked answers that a revocation is done, or, when the client did not want to wait, that it will be.
func revoked(sync *bool) (*engines.Response, error) {
	if later(sync) {
		return &engines.Response{Status: http.StatusAccepted, Raw: &engines.Raw{ContentType: "application/json"}}, nil
	}
	return done()
}

type revokePrefixParams struct {
	Prefix string `path:"prefix" help:"Path that issued the leases."`
	Sync   *bool  `param:"sync" help:"Answer when the leases are revoked, the default, or when that is settled."`
}

func (e *engine) revokePrefix(
	ctx context.Context, _ *engines.Request, p revokePrefixParams,
) (*engines.Response, error) {
	revoke := e.Leases.RevokePrefix
	if later(p.Sync) {
		revoke = e.Leases.RevokePrefixLater
	}
	if err := revoke(ctx, p.Prefix); err != nil {
		return nil, err
	}
	return revoked(p.Sync)
}

func (e *engine) revokeForce(ctx context.Context, _ *engines.Request, p leasePrefixParams) (*engines.Response, error) {
	if err := e.Leases.RevokeForce(ctx, p.Prefix); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) tidyLeases(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	warning := "Tidy operation successfully started. Any information from the operation will be printed to " +
		"Vault's server logs."
	if !e.Leases.Tidy(e.Session) {
		warning = "Tidy operation already in progress."
	}
	return &engines.Response{Status: http.StatusAccepted, NoMountType: true, Warnings: []string{warning}}, nil
}

// maxIrrevocable is how many leases are listed without an explicit limit.
const maxIrrevocable = 10_000

type irrevocableParams struct {
	Type   string `param:"type" help:"\"irrevocable\"."`
	Limit  string `param:"limit" help:"How many to list; \"none\" for all."`
	Nested bool   `param:"include_child_namespaces" help:"Accepted for compatibility."`
}

func (e *engine) listIrrevocable(
	ctx context.Context, _ *engines.Request, p irrevocableParams,
) (*engines.Response, error) {
	if p.Type != "irrevocable" {
		return nil, engines.NotFound()
	}
	limit := maxIrrevocable
	switch p.Limit {
	case "":
	case "none":
		limit = 0
	default:
		n, err := strconv.Atoi(p.Limit)
		if err != nil {
			return nil, engines.Failed("%s", engines.Numbered("invalid 'limit' provided: "+err.Error()))
		}
		limit = max(1, n)
	}
	found, total, err := e.Leases.Irrevocable(ctx, limit)
	if err != nil {
		return nil, err
	}
	list := make([]any, 0, len(found))
	for _, lease := range found {
		list = append(list, map[string]any{"lease_id": lease.ID, "error": lease.Failure})
	}
	return read(map[string]any{"lease_count": total, "leases": list})
}

type countParams struct {
	Type   string `param:"type" help:"\"irrevocable\"."`
	Nested bool   `param:"include_child_namespaces" help:"Accepted for compatibility."`
}

func (e *engine) countIrrevocable(ctx context.Context, _ *engines.Request, p countParams) (*engines.Response, error) {
	if p.Type != "irrevocable" {
		return nil, engines.NotFound()
	}
	found, total, err := e.Leases.Irrevocable(ctx, 0)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for _, lease := range found {
		if entry, ok := e.mountServing(lease.ID[:strings.LastIndexByte(lease.ID, '/')+1]); ok {
			counts[entry.Accessor]++
		}
	}
	return read(map[string]any{"lease_count": total, "counts": counts})
}
