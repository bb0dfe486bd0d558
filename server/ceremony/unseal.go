package ceremony

import (
	"context"
	"errors"
	"sync"

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

	mu sync.Mutex
	// given and nonce are guarded by mu. nonce is empty when there is no progress.
	given quorum
	nonce string
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
	status := UnsealStatus{
		Type: typeOf(u.auto), Initialized: true, T: config.Threshold, N: config.Shares,
		Progress: u.given.progress(), Nonce: u.nonce,
		Migration: u.pending(config), RecoverySeal: u.auto != nil,
	}
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

// Add takes a share in hex or base64. Once there are enough it returns what opens the barrier, and complete. A
// share that was given before changes nothing. When the shares turn out to be wrong, they are dropped and the
// error is an ErrInvalid.
//
// With migrate the opening moves the data to the seal of the configuration. That is asked for when the data is
// under another seal, and possible when it is under a key that is lost.
func (u *Unseal) Add(ctx context.Context, text string, migrate bool) (o Opening, complete bool, err error) {
	share, err := decodeUnsealShare(text)
	if err != nil {
		return Opening{}, false, err
	}
	config, err := seal.ReadConfig(ctx, u.storage)
	uninitialized := errors.Is(err, seal.ErrNotInitialized)
	if err != nil && !uninitialized {
		return Opening{}, false, err
	}
	if err := u.checkMigration(ctx, config, migrate, uninitialized); err != nil {
		return Opening{}, false, err
	}
	if uninitialized {
		return Opening{}, false, invalid("Vault is not initialized")
	}
	if err := checkShare(share, "invalid key: "); err != nil {
		return Opening{}, false, err
	}
	operators, err := u.addShare(share, config.Threshold)
	if err != nil || operators.Len() == 0 {
		return Opening{}, false, err
	}
	defer operators.Zero()
	o.Migration = migrate
	if o.Root, err = openRoot(ctx, u.storage, config, operators); err != nil {
		return Opening{}, false, err
	}
	if migrate {
		if o.Changes, err = u.migration(ctx, config, o.Root, operators); err != nil {
			o.Zero()
			return Opening{}, false, err
		}
	}
	return o, true, nil
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
	return errors.Is(err, seal.ErrWrongKey) || errors.Is(err, seal.ErrNoKey)
}

// addShare returns the unseal key once there are enough shares, before that an empty one.
func (u *Unseal) addShare(share secret.Key, threshold int) (secret.Key, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.nonce == "" {
		u.nonce = newNonce()
	}
	u.given.add(share)
	if u.given.progress() < threshold {
		return secret.Key{}, nil
	}
	defer u.resetLocked()
	unseal, err := u.given.combine()
	if err != nil {
		return secret.Key{}, invalid("invalid key: failed to compute combined key: %s", reasonOf(err))
	}
	return unseal, nil
}

// openRoot returns the root key, or the error of a wrong unseal key in the words of Vault's sys/unseal.
func openRoot(ctx context.Context, s storage.Storage, c seal.Config, operators secret.Key) (secret.Key, error) {
	root, wrong, err := rootKey(ctx, s, c, operators, seal.TypeShamir)
	switch {
	case !errors.Is(err, seal.ErrWrongKey):
		return root, err
	case c.Type != seal.TypeShamir:
		return secret.Key{}, invalid("invalid key: failed to verify recovery key: %s", wrong)
	default:
		return secret.Key{}, invalid("%s%s", wrongPrefix(c, operators), wrong)
	}
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
