package ceremony

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"coffer/barrier"
	"coffer/barrier/record"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
	"coffer/storage/memory"
)

// InitParams is the body of Vault's sys/init. stored_shares is accepted there and means nothing.
type InitParams struct {
	// SecretShares is into how many shares the unseal key is split, SecretThreshold how many are needed.
	SecretShares    int `json:"secret_shares"`
	SecretThreshold int `json:"secret_threshold"`
	// PGPKeys encrypt the shares, one key for each: binary public keys in base64. RootTokenPGPKey
	// encrypts the root token.
	PGPKeys         []string `json:"pgp_keys"`
	RootTokenPGPKey string   `json:"root_token_pgp_key"`
	// The recovery parameters are for seals that unseal by themselves; here they are an error.
	RecoveryShares    int      `json:"recovery_shares"`
	RecoveryThreshold int      `json:"recovery_threshold"`
	RecoveryPGPKeys   []string `json:"recovery_pgp_keys"`
}

// InitResult is the answer of Vault's sys/init.
type InitResult struct {
	ShareList
	// RootToken is encrypted and in base64 when there was a key for it.
	RootToken string `json:"root_token"`
}

// Setup fills a new barrier with what a server needs before its first unsealing, and returns the root
// token. The barrier is a draft: nothing of it is stored unless Setup returns nil, and it is closed
// afterwards.
type Setup func(ctx context.Context, draft *barrier.Barrier) (rootToken string, err error)

// Init initializes the storage. Everything is validated first; then barrier, seal and whatever setup writes
// are drafted in memory, and stored in one Apply. So there is either nothing, or a server whose keys and
// token the caller has in hand. Two calls at once are the caller's to prevent.
func Init(ctx context.Context, s storage.Storage, p InitParams, setup Setup) (InitResult, error) {
	keys, tokenKey, err := p.validate(ctx, s)
	if err != nil {
		return InitResult{}, err
	}
	root, unseal := secret.Random(record.KeySize), secret.Random(seal.UnsealKeySize)
	defer root.Zero()
	defer unseal.Zero()
	draft, token, err := draftServer(ctx, p, root, unseal, setup)
	if err != nil {
		return InitResult{}, err
	}
	if tokenKey != nil {
		encrypted, err := tokenKey.encrypt([]byte(token))
		if err != nil {
			return InitResult{}, err
		}
		token = base64.StdEncoding.EncodeToString(encrypted)
	}
	shares, err := seal.Split(unseal, p.SecretShares, p.SecretThreshold)
	if err != nil {
		return InitResult{}, err
	}
	list, err := newShareList(shares, keys)
	for _, share := range shares {
		share.Zero()
	}
	if err != nil {
		return InitResult{}, err
	}
	if err := commit(ctx, s, draft); err != nil {
		return InitResult{}, err
	}
	return InitResult{ShareList: list, RootToken: token}, nil
}

func (p InitParams) validate(ctx context.Context, s storage.Storage) (keys []pgpKey, tokenKey *pgpKey, err error) {
	if err := p.checkRecovery(); err != nil {
		return nil, nil, err
	}
	if len(p.PGPKeys) > 0 && len(p.PGPKeys) != p.SecretShares {
		return nil, nil, invalid("incorrect number of PGP keys")
	}
	if problem := checkShares(p.SecretShares, p.SecretThreshold); problem != "" {
		return nil, nil, invalid("invalid seal configuration: %s", problem)
	}
	if keys, err = parsePGPKeys(p.PGPKeys); err != nil {
		return nil, nil, invalid("invalid seal configuration: %v", err)
	}
	exists, err := barrier.Exists(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if exists {
		return nil, nil, ErrAlreadyInitialized
	}
	if p.RootTokenPGPKey != "" {
		// Vault looks at this key last, when everything else is done and stored.
		key, err := parsePGPKey(p.RootTokenPGPKey)
		if err != nil {
			return nil, nil, err
		}
		tokenKey = &key
	}
	return keys, tokenKey, nil
}

func (p InitParams) checkRecovery() error {
	var given []string
	if p.RecoveryShares != 0 {
		given = append(given, "recovery_shares")
	}
	if p.RecoveryThreshold != 0 {
		given = append(given, "recovery_threshold")
	}
	if len(p.RecoveryPGPKeys) > 0 {
		given = append(given, "recovery_pgp_keys")
	}
	if len(given) > 0 {
		return invalid("parameters %s not applicable to seal type %s", strings.Join(given, ","), seal.TypeShamir)
	}
	return nil
}

// draftServer returns everything to be stored, and the root token.
func draftServer(ctx context.Context, p InitParams, root, unseal secret.Key, setup Setup) (
	draft []storage.Op, rootToken string, err error,
) {
	config := seal.Config{Type: seal.TypeShamir, Shares: p.SecretShares, Threshold: p.SecretThreshold}
	records, err := seal.Records(ctx, seal.NewShamir(unseal), config, root)
	if err != nil {
		return nil, "", err
	}
	ops, err := barrier.Create(root)
	if err != nil {
		return nil, "", err
	}
	store := memory.New()
	if err := store.Apply(ctx, append(ops, records...)...); err != nil {
		return nil, "", err
	}
	b, err := barrier.Open(ctx, store, root)
	if err != nil {
		return nil, "", err
	}
	rootToken, err = setup(ctx, b)
	if closeErr := b.Close(); err != nil || closeErr != nil {
		return nil, "", fmt.Errorf("ceremony: set up the server: %w", errors.Join(err, closeErr))
	}
	return store.Contents(), rootToken, nil
}

// commit applies the draft. When that fails but the draft is there, it was written: then the keys must be
// handed out, or nobody will ever open it.
func commit(ctx context.Context, s storage.Storage, draft []storage.Op) error {
	err := s.Apply(ctx, draft...)
	if err == nil {
		return nil
	}
	for _, op := range draft {
		if op.Key != seal.RootKeyPath {
			continue
		}
		if got, getErr := s.Get(ctx, op.Key); getErr == nil && bytes.Equal(got, op.Value) {
			return nil
		}
	}
	return fmt.Errorf("ceremony: store the new server: %w", err)
}
