package engines

import (
	"context"
	"time"
)

// Leaser is an Engine that issues leased secrets: it answers with a Response.Secret that is not Unleased.
// The server gives each a lease within the mount's limits and comes back with it when it is to be renewed
// and when it ends, by its time, by its token's end or by an operator's wish. Calls for different leases
// run concurrently.
//
// A handler does nothing that would have to be taken back. It says what is going to be made: it chooses a name,
// writes into Secret.Internal what RevokeSecret needs to find it, and returns Secret.Make. The server stores the
// lease as pending, together with Secret.Changes, calls Make, and then lets the lease live and answers. Whatever goes
// wrong after the first commit, a crash included, ends in RevokeSecret: so what was made is never forgotten, and
// RevokeSecret may be asked for something that was never made. It is not called while Make runs.
type Leaser interface {
	Engine
	// RenewSecret says how much longer the secret may live, of the increment that the client wishes (0: the
	// default). The server applies the mount's limits. An error refuses the renewal.
	RenewSecret(ctx context.Context, l Lease, increment time.Duration) (LeaseGrant, error)
	// RevokeSecret takes the secret back. It may be called again for the same secret, after a crash or an
	// error, or for one that was not made or not wholly; it must then succeed when there is nothing left to do.
	RevokeSecret(ctx context.Context, l Lease) error
}

// Lease is what the engine that issued a secret gets to see of its lease.
type Lease struct {
	ID string
	// Path is that of the request that issued it, below the mount.
	Path   string
	Issued time.Time
	// Expires is when it ends now.
	Expires time.Time
	// Internal is what the engine left in Secret.Internal, as JSON gives it back.
	Internal map[string]any
}

// LeaseGrant is an engine's answer to RenewSecret.
type LeaseGrant struct {
	// TTL is counted from now; 0 for what the client wishes. MaxTTL is counted from the lease's beginning; 0
	// leaves the limit as it is.
	TTL, MaxTTL time.Duration
	// Internal replaces the lease's internal data when it is not nil.
	Internal map[string]any
	Warnings []string
}
