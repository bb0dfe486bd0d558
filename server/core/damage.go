package core

import (
	"context"
	"errors"
	"slices"
	"strings"

	"coffer/barrier"
	"coffer/engines"
	"coffer/server/damage"
	"coffer/server/mounts"
	"coffer/server/sys"
	"coffer/storage"
)

// indispensable are the records without which there is nothing to serve: they cannot be given up.
var indispensable = []string{clusterPath, "sys/token/keys"} //nolint:gochecknoglobals // a constant

// kinds are what operators call the records behind the barrier, by the beginnings of their keys. The first that fits
// counts. What is left of the key is the name, but for records that are the only ones of their kind.
var kinds = []struct{ prefix, kind string }{ //nolint:gochecknoglobals // a table
	{"core/mounts/", "mount"},
	{"core/audit", "audit"},
	{"core/lockout/", "lockout"},
	{"core/password-policy/", "password_policy"},
	{"sys/settings", "settings"},
	{"sys/clock", "clock"},
	{"sys/policy/", "policy"},
	{"sys/token/id/", "token"},
	{"sys/token/roles/", "token_role"},
	{"sys/token/", "token_index"},
	{"sys/expire/id/", "lease"},
	{"sys/expire/", "lease_index"},
}

// identityKinds are those of the records of identity.
var identityKinds = []struct{ prefix, kind string }{ //nolint:gochecknoglobals // a table
	{"entity/", "entity"},
	{"group/", "group"},
	{"mfa/method/", "mfa_method"},
	{"mfa/enforcement/", "login_enforcement"},
	{"mfa/secret/", "mfa_secret"},
	{"oidc/", "oidc"},
}

// describe says what damage is about. It is called under the register's lock.
func (s *session) describe(d storage.Damage) damage.Description {
	about := s.describeKey(d.Key)
	if d.Stored != "" {
		about.Name += " (a name in this folder)"
	}
	return about
}

func (s *session) describeKey(key string) damage.Description {
	if slices.Contains(indispensable, key) {
		return damage.Description{Kind: damage.Indispensable, Name: key}
	}
	if name, ok := strings.CutPrefix(key, s.builtinFolder(identityPath)); ok {
		for _, k := range identityKinds {
			if rest, ok := strings.CutPrefix(name, k.prefix); ok {
				return damage.Description{Kind: k.kind, Name: rest}
			}
		}
		return damage.Description{Kind: "identity", Name: name}
	}
	if name, ok := strings.CutPrefix(key, s.builtinFolder(cubbyholePath)); ok {
		return damage.Description{Kind: "cubbyhole", Name: name}
	}
	for _, k := range kinds {
		if rest, ok := strings.CutPrefix(key, k.prefix); ok {
			return damage.Description{Kind: k.kind, Name: rest}
		}
	}
	if kind, rest, _ := strings.Cut(key, "/"); kind == "auth" || kind == "logical" {
		uuid, name, _ := strings.Cut(rest, "/")
		if kind == "logical" {
			kind = "secret"
		}
		return damage.Description{Kind: kind, Name: s.mountPath(uuid) + name}
	}
	return damage.Description{Kind: "other", Name: key}
}

// mountPath is where the mount with a UUID is mounted, or its UUID with a "/".
func (s *session) mountPath(uuid string) string {
	if s.mounts != nil {
		for _, kind := range []mounts.Kind{mounts.Secret, mounts.Auth} {
			for _, e := range s.mounts.Entries(kind) {
				if e.UUID == uuid {
					return e.Path
				}
			}
		}
	}
	return uuid + "/"
}

// damaged serves sys/damaged.
type damaged struct{ *session }

var _ sys.Damaged = damaged{}

// Records implements sys.Damaged.
func (d damaged) Records() (found []sys.DamagedRecord, more int) {
	records, more := d.damage.Records()
	for _, r := range records {
		found = append(found, sys.DamagedRecord{
			ID: r.ID, Kind: r.Kind, Name: r.Name, Key: r.Key, Found: r.Found,
			Reason: engines.Cut(r.Err.Error(), engines.MaxMessage),
		})
	}
	return found, more
}

var (
	errReadable      = engines.Invalid("the record can be read again: seal and unseal the server, and it is taken back")
	errIndispensable = engines.Invalid("nothing is served without this record: put a backup back")
)

// Accept implements sys.Damaged. What was denied because of the record is not, from now on.
func (d damaged) Accept(ctx context.Context, id string) error {
	record, ok := d.damage.Find(id)
	switch {
	case !ok:
		return engines.NotFound()
	case record.Kind == damage.Indispensable:
		return errIndispensable
	}
	ctx = context.WithoutCancel(ctx)
	err := d.barrier.Remove(ctx, record.Damage)
	if errors.Is(err, barrier.ErrReadable) {
		return errReadable
	}
	if err != nil {
		return err
	}
	d.damage.Forget(id)
	d.logger.Warn("a stored record that cannot be read was given up", "id", id, "kind", record.Kind, "name", record.Name)
	return d.reread(ctx)
}

// reread has everybody look again at what was lost. All are asked, since some records are in two accounts: under the
// key that is missing, and under the name that cannot be read.
func (s *session) reread(ctx context.Context) error {
	return errors.Join(s.policies.Reread(ctx), s.mounts.Reread(ctx), s.audit.Reread(ctx), s.identity.Reread(ctx),
		s.mfa.Reread(ctx), s.oidc.Reread(ctx))
}

// Check implements sys.Damaged.
func (d damaged) Check() bool {
	if !d.checking.CompareAndSwap(false, true) {
		return false
	}
	d.work(func(ctx context.Context) {
		defer d.checking.Store(false)
		checked, err := damage.Check(ctx, d.barrier)
		d.logger.Info("everything stored was read", "values", checked, "damaged", d.damage.Count(), "error", err)
	})
	return true
}

// Checking implements sys.Damaged.
func (d damaged) Checking() bool { return d.checking.Load() }

// damagedRecords is how many stored records were found that cannot be read; 0 while sealed.
func (c *Core) damagedRecords() int {
	if s := c.session.Load(); s != nil {
		return s.damage.Count()
	}
	return 0
}

// damagedKinds counts them by kind.
func (c *Core) damagedKinds() map[string]float64 {
	counts := make(map[string]float64)
	if s := c.session.Load(); s != nil {
		for kind, n := range s.damage.Kinds() {
			counts[kind] = float64(n)
		}
	}
	return counts
}

// damagedError is the answer where a record is needed that cannot be read. Its text is for the log.
type damagedError struct{ error }

// Unwrap tells the client no more than where to look.
func (e damagedError) Unwrap() []error { return []error{errDamaged, e.error} }

var errDamaged = engines.Failed("a stored record that this needs cannot be read: the server's log and sys/damaged " +
	"tell which")

// ofDamage gives the error of a call its text for the client, if a record that cannot be read is the reason.
func ofDamage(err error) error {
	var public *engines.Error
	if err == nil || !errors.Is(err, storage.ErrDamaged) || errors.As(err, &public) {
		return err
	}
	return damagedError{err}
}

// lostPolicyError refuses a token because of a policy that cannot be read. Its text is for the log.
type lostPolicyError struct{ error }

// Unwrap makes it the refusal that the client is told.
func (e lostPolicyError) Unwrap() []error { return []error{errPolicy, e.error} }

// repairs reports whether a permitted call may go on though the audit devices cannot be read: it is one that shows or
// gives up what cannot be read, by who has sudo there. It is logged in their place.
func (r *run) repairs() bool {
	if !r.session.audit.Lost() || !r.found || !r.match.Sudo() ||
		r.call.Path != damagedPath && !strings.HasPrefix(r.call.Path, damagedPath+"/") {
		return false
	}
	r.session.logger.Warn("served though the audit devices cannot be read", "request_id", r.call.ID, "path", r.call.Path,
		"operation", r.request.Operation, "token_accessor", r.request.Caller.Accessor)
	return true
}

const damagedPath = "sys/damaged"
