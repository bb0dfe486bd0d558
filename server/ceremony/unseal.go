package ceremony

import (
	"context"
	"errors"
	"sync"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// Unseal collects the shares of the unseal key. It is safe for concurrent use and is used again after each
// sealing.
type Unseal struct {
	storage storage.Storage

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
}

// NewUnseal returns the ceremony for the storage below the barrier.
func NewUnseal(s storage.Storage) *Unseal { return &Unseal{storage: s} }

// Status returns how far the unsealing is.
func (u *Unseal) Status(ctx context.Context) (UnsealStatus, error) {
	config, err := seal.ReadConfig(ctx, u.storage)
	switch {
	case errors.Is(err, seal.ErrNotInitialized):
		return UnsealStatus{Type: seal.TypeShamir}, nil
	case err != nil:
		return UnsealStatus{}, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return UnsealStatus{
		Type: config.Type, Initialized: true, T: config.Threshold, N: config.Shares,
		Progress: u.given.progress(), Nonce: u.nonce,
	}, nil
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

// Add takes a share in hex or base64. Once there are enough it returns the root key, with which the caller
// opens the barrier and which he zeroes. A share that was given before changes nothing. When the shares
// turn out to be wrong, they are dropped and the error is an ErrInvalid.
func (u *Unseal) Add(ctx context.Context, text string) (root secret.Key, complete bool, err error) {
	share, err := decodeUnsealShare(text)
	if err != nil {
		return secret.Key{}, false, err
	}
	config, err := seal.ReadConfig(ctx, u.storage)
	switch {
	case errors.Is(err, seal.ErrNotInitialized):
		return secret.Key{}, false, invalid("Vault is not initialized")
	case err != nil:
		return secret.Key{}, false, err
	}
	if err := checkShare(share, "invalid key: "); err != nil {
		return secret.Key{}, false, err
	}
	unseal, err := u.addShare(share, config.Threshold)
	if err != nil || unseal.Len() == 0 {
		return secret.Key{}, false, err
	}
	defer unseal.Zero()
	root, err = openRoot(ctx, u.storage, unseal)
	return root, err == nil, err
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
func openRoot(ctx context.Context, s storage.Storage, unseal secret.Key) (secret.Key, error) {
	root, wrong, err := rootKey(ctx, s, unseal, seal.TypeShamir)
	switch {
	case errors.Is(err, seal.ErrWrongKey) && badKeySize(unseal) != "":
		return secret.Key{}, invalid("invalid key: %s", wrong)
	case errors.Is(err, seal.ErrWrongKey):
		return secret.Key{}, invalid("unable to retrieve stored keys: invalid key: %s", wrong)
	case err != nil:
		return secret.Key{}, err
	}
	return root, nil
}
