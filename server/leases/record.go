package leases

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Kind tells what a lease stands for.
type Kind uint8

// The kinds of lease.
const (
	// Token is the lease of a service token.
	Token Kind = iota + 1
	// EngineSecret is the lease of a secret that an engine issued.
	EngineSecret
)

// Lease is what is known of one lease.
type Lease struct {
	// ID is the path that issued it and a name that tells nothing: "auth/token/create/h0a1b…".
	ID     string
	Kind   Kind
	Issued time.Time
	// Renewed is zero before the first renewal.
	Renewed time.Time
	// Expires is zero for a lease that never ends.
	Expires   time.Time
	Renewable bool
	// Pending is set until what the lease stands for was made. A lease that is pending and that nobody is making
	// is revoked.
	Pending bool
	// Failure is why revoking was given up; "" for a lease that can be revoked.
	Failure string
	// Secret is nil for tokens.
	Secret *Secret
}

// Secret is what the manager keeps of an engine's leased secret.
type Secret struct {
	// Path is the full path of the request that issued it: "database/creds/app".
	Path string `json:"path"`
	// Token is the id of the token that asked for it, which it does not outlive; "" for none.
	Token string `json:"token,omitempty"`
	// TTL is what the lease was issued or last renewed for.
	TTL time.Duration `json:"ttl"`
	// MaxTTL bounds the life from Issued on, renewals included; 0 sets no limit.
	MaxTTL time.Duration `json:"max_ttl,omitempty"`
	// Until is when a token ends whose end nobody announces, a batch token's; nil for others. The lease never
	// passes it.
	Until *time.Time `json:"until,omitempty"`
	// Internal is the engine's own note of what to revoke.
	Internal map[string]any `json:"internal,omitempty"`
}

// TTL is the remaining life in whole seconds, as Vault counts it; 0 for a lease that never ends.
func (l Lease) TTL(now time.Time) time.Duration {
	if l.Expires.IsZero() {
		return 0
	}
	return max(0, l.Expires.Sub(now.Round(time.Second)).Truncate(time.Second))
}

// The binary form of a secret's record: version, flags, three times in Unix nanoseconds (0 for none), and JSON.
// The lease of a token has no record but the token's own.
//
// Version 2 knew no pending leases. Version 1 had two forms, one after the other. In the first one tokens had records
// as well, without JSON; its flags were others, and a secret's had flagTail among them.
const (
	recordVersion = 3
	secondVersion = 2
	firstVersion  = 1
	recordHeader  = 2 + 3*8

	// Flags of the first form of version 1.
	firstFlagSecret    = 1 << 0
	firstFlagRenewable = 1 << 1
	firstFlagTail      = 1 << 2

	flagRenewable = 1 << 0
	flagPending   = 1 << 1
)

type recordTail struct {
	Failure string  `json:"failure,omitempty"`
	Secret  *Secret `json:"secret"`
}

func encode(l Lease) ([]byte, error) {
	b := make([]byte, 2, recordHeader)
	b[0] = recordVersion
	if l.Renewable {
		b[1] |= flagRenewable
	}
	if l.Pending {
		b[1] |= flagPending
	}
	for _, t := range [...]time.Time{l.Issued, l.Expires, l.Renewed} {
		b = binary.BigEndian.AppendUint64(b, uint64(nanos(t))) //nolint:gosec // decode reads the same bits back
	}
	tail, err := json.Marshal(recordTail{Failure: l.Failure, Secret: l.Secret})
	if err != nil {
		return nil, fmt.Errorf("leases: internal data of %s: %w", l.ID, err)
	}
	return append(b, tail...), nil
}

// errObsolete is returned for the record of a token's lease, which the token's own record holds now.
var errObsolete = errors.New("leases: a record of an earlier version, of a token's lease")

// flagsOf returns the flags of a record as they are now, or errObsolete or errCorrupt.
func flagsOf(b []byte) (flags byte, err error) {
	flags = b[1]
	if b[0] == firstVersion && isFirstForm(b) {
		if flags&firstFlagSecret == 0 {
			return 0, errObsolete
		}
		renewable := flags&firstFlagRenewable != 0
		if flags = 0; renewable {
			flags = flagRenewable
		}
		return flags, nil
	}
	known := byte(flagRenewable)
	switch b[0] {
	case firstVersion, secondVersion:
	case recordVersion:
		known |= flagPending
	default:
		return 0, errCorrupt
	}
	if flags&^known != 0 {
		return 0, errCorrupt
	}
	return flags, nil
}

// isFirstForm tells the first form of version 1 from the second, all of whose records have JSON, and at most the first
// flag.
func isFirstForm(b []byte) bool {
	known := byte(firstFlagSecret | firstFlagRenewable | firstFlagTail)
	return b[1]&^known == 0 && (b[1]&firstFlagTail != 0 || len(b) == recordHeader)
}

func decode(id string, b []byte) (Lease, error) {
	if len(b) < recordHeader {
		return Lease{}, fmt.Errorf("%w: %s", errCorrupt, id)
	}
	flags, err := flagsOf(b)
	if err != nil {
		return Lease{}, fmt.Errorf("%w: %s", err, id)
	}
	l := Lease{ID: id, Kind: EngineSecret, Renewable: flags&flagRenewable != 0, Pending: flags&flagPending != 0}
	for i, t := range [...]*time.Time{&l.Issued, &l.Expires, &l.Renewed} {
		*t = fromNanos(int64(binary.BigEndian.Uint64(b[2+8*i:]))) //nolint:gosec // the bits that encode wrote
	}
	var tail recordTail
	if err := json.Unmarshal(b[recordHeader:], &tail); err != nil || tail.Secret == nil {
		return Lease{}, fmt.Errorf("%w: %s", errCorrupt, id)
	}
	l.Failure, l.Secret = tail.Failure, tail.Secret
	if len(l.Secret.Internal) == 0 {
		l.Secret.Internal = nil
	}
	return l, nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
