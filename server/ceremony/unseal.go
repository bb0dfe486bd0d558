package ceremony

import (
	"context"
	"errors"
	"sync"

	"github.com/google/uuid"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// Unseal collects the shares of the unseal key, or of the recovery key beside a seal that opens by itself. It is
// safe for concurrent use and is used again after each sealing.
type Unseal struct {
	storage storage.Storage
	// auto is the seal of the configuration; nil for Shamir's.
	auto seal.Auto

	// Expired is called when shares were dropped because nobody went on for IdleLimit; nil for nobody. It is set
	// before the first use and must not call back.
	Expired func()

	mu sync.Mutex
	// given, nonce and idle are guarded by mu. nonce is empty when there is no progress.
	given panel
	nonce string
	idle  idle
	// arrived is guarded by mu. It is set once a share of the present key was given: then the former one opens nothing
	// more, although that cannot be stored before the server is open.
	arrived bool
}

// UnsealStatus is the part of Vault's sys/seal-status that this package knows.
type UnsealStatus struct {
	Type        string `json:"type"`
	Initialized bool   `json:"initialized"`
	// T of N shares are needed; both are 0 before the server is initialized.
	T        int    `json:"t"`
	N        int    `json:"n"`
	Progress int    `json:"progress"`
	Nonce    string `json:"nonce"`
	// Migration tells that the data is under another seal than that of the configuration.
	Migration bool `json:"migration"`
	// RecoverySeal tells that the seal opens by itself and the shares are those of a recovery key, which is
	// of the type RecoverySealType once the server is initialized.
	RecoverySeal     bool   `json:"recovery_seal"`
	RecoverySealType string `json:"recovery_seal_type,omitempty"`
	// FormerShares tells that the shares from before the last rekey are still good.
	FormerShares bool `json:"former_shares,omitempty"`
}

// NewUnseal returns the ceremony for the storage below the barrier and the seal of the configuration, which is
// nil for Shamir's.
func NewUnseal(s storage.Storage, auto seal.Auto) *Unseal { return &Unseal{storage: s, auto: auto} }

// Status returns how far the unsealing is.
func (u *Unseal) Status(ctx context.Context) (UnsealStatus, error) {
	config, err := seal.ReadConfig(ctx, u.storage)
	switch {
	case errors.Is(err, seal.ErrNotInitialized):
		return UnsealStatus{Type: typeOf(u.auto), RecoverySeal: u.auto != nil}, nil
	case err != nil:
		return UnsealStatus{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.arrived {
		config.Former = nil
	}
	status := UnsealStatus{
		Type: typeOf(u.auto), Initialized: true, Nonce: u.nonce, FormerShares: config.Former != nil,
		Migration: u.pending(config), RecoverySeal: u.auto != nil,
	}
	status.Progress, status.T, status.N = u.given.progress(config)
	if status.RecoverySeal {
		status.RecoverySealType = seal.TypeShamir
	}
	return status, nil
}

// Reset drops the shares given so far. The caller refuses it, with ErrUnsealed, when there is a session.
func (u *Unseal) Reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.resetLocked()
}

// ErrUnsealed is the answer to a reset of an unsealed server. It is an ErrInvalid.
var ErrUnsealed error = &Error{Kind: ErrInvalid, Message: "vault is unsealed"}

func (u *Unseal) resetLocked() {
	u.given.clear()
	u.nonce = ""
	u.idle.stop()
}

func (u *Unseal) expireLocked() {
	u.resetLocked()
	if u.Expired != nil {
		u.Expired()
	}
}

// CheckShare returns what is wrong with the text of a share before its length and the server's state are
// looked at: an unsealed server answers like this.
func (*Unseal) CheckShare(text string) error {
	_, err := decodeUnsealShare(text)
	return err
}

func decodeUnsealShare(text string) (secret.Key, error) {
	if text == "" {
		return secret.Key{}, invalid("'key' must be specified in request body as JSON, or 'reset' set to true")
	}
	return decodeShare(text)
}

// pending reports whether the data is under another seal than that of the configuration.
func (u *Unseal) pending(c seal.Config) bool { return c.Type != typeOf(u.auto) }

// Add takes a share in hex or base64. Once there are enough the verdict is Complete, with what opens the barrier. A
// share that was given before changes nothing. When the shares given turn out to be wrong, the error is an
// ErrInvalid, and those that fit stay.
//
// With migrate the opening moves the data to the seal of the configuration. That is asked for when the data is
// under another seal, and possible when it is under a key that is lost.
func (u *Unseal) Add(ctx context.Context, text string, migrate bool) (Opening, Verdict, error) {
	share, err := decodeUnsealShare(text)
	if err != nil {
		return Opening{}, Repeated, err
	}
	config, err := seal.ReadConfig(ctx, u.storage)
	uninitialized := errors.Is(err, seal.ErrNotInitialized)
	if err != nil && !uninitialized {
		return Opening{}, Repeated, err
	}
	if err := u.checkMigration(ctx, config, migrate, uninitialized); err != nil {
		return Opening{}, Repeated, err
	}
	if uninitialized {
		return Opening{}, Repeated, invalid("Vault is not initialized")
	}
	if err := checkShare(share, "invalid key: "); err != nil {
		return Opening{}, Repeated, err
	}
	return u.addShare(ctx, config, share, migrate)
}

// addShare adds a share, and opens once there are enough.
func (u *Unseal) addShare(ctx context.Context, c seal.Config, share secret.Key, migrate bool) (
	o Opening, verdict Verdict, err error,
) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.arrived {
		c.Former = nil
	}
	key, given, verdict := u.given.add(share, c)
	u.arrived = u.arrived || verdict == Fit && key.former == nil && c.Former != nil
	if verdict == Fit {
		u.idle.restart(&u.mu, u.expireLocked)
	}
	if u.nonce == "" {
		u.nonce = uuid.NewString()
	}
	complete, err := given.combine(key.config.Threshold, verdict, func(operators secret.Key) (err error) {
		o, err = u.open(ctx, key, operators, migrate)
		return err
	})
	if complete || u.given.empty() {
		u.resetLocked()
	}
	switch {
	case errors.Is(err, seal.ErrShares):
		err = invalid("invalid key: failed to compute combined key: %s", reasonOf(err))
	case complete:
		verdict = Complete
	}
	return o, verdict, err
}

// open returns what the operators' combined key opens.
func (u *Unseal) open(ctx context.Context, k held, operators secret.Key, migrate bool) (Opening, error) {
	root, err := openRoot(ctx, u.storage, k, operators)
	if err != nil {
		return Opening{}, err
	}
	o := Opening{Root: root, Migration: migrate, Shares: PresentShares}
	if k.former != nil {
		o.Shares = FormerShares
	}
	if migrate {
		if o.Changes, err = u.migration(ctx, k.config, root, operators); err != nil {
			o.Zero()
			return Opening{}, err
		}
	}
	return o, nil
}

// CheckMigration returns Vault's error for a migration that there is no reason for.
func (u *Unseal) CheckMigration(ctx context.Context) error {
	config, err := seal.ReadConfig(ctx, u.storage)
	uninitialized := errors.Is(err, seal.ErrNotInitialized)
	if err != nil && !uninitialized {
		return err
	}
	return u.checkMigration(ctx, config, true, uninitialized)
}

func (u *Unseal) checkMigration(ctx context.Context, c seal.Config, migrate, uninitialized bool) error {
	pending := !uninitialized && u.pending(c)
	switch {
	case pending && !migrate:
		return failed("migrate option not provided and seal migration is pending")
	case pending || !migrate:
		return nil
	case uninitialized || u.auto == nil || !u.lost(ctx):
		return failed("can't perform a seal migration, no migration seal found")
	}
	return nil
}

// lost reports whether the seal of the configuration does not open data that is under such a seal.
func (u *Unseal) lost(ctx context.Context) bool {
	root, err := seal.RootKey(ctx, u.storage, u.auto)
	root.Zero()
	return errors.Is(err, seal.ErrWrongKey) || errors.Is(err, seal.ErrNoKey) || errors.Is(err, seal.ErrCorrupt)
}

// openRoot returns the root key, or the error of a wrong unseal key in the words of Vault's sys/unseal.
func openRoot(ctx context.Context, s storage.Storage, k held, operators secret.Key) (secret.Key, error) {
	root, wrong, err := rootKey(ctx, s, k, operators, seal.TypeShamir)
	switch {
	case !errors.Is(err, seal.ErrWrongKey):
		return root, err
	case k.config.Type != seal.TypeShamir:
		err = invalid("invalid key: failed to verify recovery key: %s", wrong)
	default:
		err = invalid("%s%s", wrongPrefix(k.config, operators), wrong)
	}
	return secret.Key{}, &wrongKeyError{err}
}

// wrongPrefix is what Vault puts before the text of a wrong key.
func wrongPrefix(c seal.Config, operators secret.Key) string {
	switch {
	case c.Type != seal.TypeShamir:
		return "recovery key verification failed: "
	case badKeySize(operators) != "":
		return "invalid key: "
	default:
		return "unable to retrieve stored keys: invalid key: "
	}
}
