package ceremony

import (
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
	// The recovery parameters are the same for the recovery key of a seal that opens by itself. Which of
	// the two sets applies depends on the seal; the other one is an error.
	RecoveryShares    int      `json:"recovery_shares"`
	RecoveryThreshold int      `json:"recovery_threshold"`
	RecoveryPGPKeys   []string `json:"recovery_pgp_keys"`
	// Unanswered replaces a server that nobody has used and whose initialisation was never answered. Again replaces one
	// that nobody has used: the answer may have been lost on its way.
	Unanswered, Again bool `json:"-"`
}

// InitResult is the answer of Vault's sys/init.
type InitResult struct {
	// ShareList has the shares of the unseal key; none when the seal opens by itself.
	ShareList
	// The shares of the recovery key, in hex and in base64, when the seal opens by itself.
	RecoveryKeys       []string `json:"recovery_keys,omitempty"`
	RecoveryKeysBase64 []string `json:"recovery_keys_base64,omitempty"`
	// RootToken is encrypted and in base64 when there was a key for it.
	RootToken string `json:"root_token"`
}

// Setup fills a new barrier with what a server needs before its first unsealing, and returns the root
// token. The barrier is a draft: nothing of it is stored unless Setup returns nil, and it is closed
// afterwards.
type Setup func(ctx context.Context, draft *barrier.Barrier) (rootToken string, err error)

// InitDraft is a server that is ready to be stored.
type InitDraft struct {
	storage storage.Storage
	params  InitParams
	ops     []storage.Op
	result  InitResult
}

// DraftInit drafts a server for the seal that opens by itself, or for Shamir's when auto is nil. Everything is
// validated first; then barrier, seal and whatever setup writes are made in memory. Nothing is stored, and a server
// that is there serves on. It may take seconds, for the PGP keys: callers hold no lock.
func DraftInit(
	ctx context.Context, s storage.Storage, auto seal.Auto, p InitParams, setup Setup,
) (*InitDraft, error) {
	plan, err := p.validate(ctx, s, auto)
	if err != nil {
		return nil, err
	}
	root, operators := secret.Random(record.KeySize), secret.Random(seal.UnsealKeySize)
	defer root.Zero()
	defer operators.Zero()
	list, marks, err := splitKey(ctx, operators, plan.shares, plan.threshold, plan.keys)
	if err != nil {
		return nil, err
	}
	config := seal.Config{Shares: plan.shares, Threshold: plan.threshold, Marks: marks, Unclaimed: true}
	records, err := seal.RecordsWith(ctx, auto, config, root, operators)
	if err != nil {
		return nil, unavailable(err)
	}
	ops, token, err := draftServer(ctx, records, root, setup)
	if err != nil {
		return nil, err
	}
	if plan.tokenKey != nil {
		encrypted, err := plan.tokenKey.encrypt([]byte(token))
		if err != nil {
			return nil, err
		}
		token = base64.StdEncoding.EncodeToString(encrypted)
	}
	result := InitResult{ShareList: list, RootToken: token}
	if auto != nil {
		result = InitResult{ShareList: noShares(), RecoveryKeys: list.Keys, RecoveryKeysBase64: list.KeysBase64,
			RootToken: token}
	}
	return &InitDraft{storage: s, params: p, ops: ops, result: result}, nil
}

// Store stores the draft in one Apply, unless somebody has initialised the storage meanwhile: ErrAlreadyInitialized. So
// there is either nothing, or a server whose keys and token the caller has in hand. Two calls at once are the caller's
// to prevent.
func (d *InitDraft) Store(ctx context.Context) (InitResult, error) {
	replaces, err := d.params.admissible(ctx, d.storage)
	if err != nil {
		return InitResult{}, err
	}
	ops := d.ops
	if replaces {
		if ops, err = replacing(ctx, d.storage, ops); err != nil {
			return InitResult{}, err
		}
	}
	if err := Commit(ctx, d.storage, seal.RootKeyPath, ops); err != nil {
		return InitResult{}, fmt.Errorf("ceremony: store the new server: %w", err)
	}
	return d.result, nil
}

// initPlan is what InitParams ask for, checked.
type initPlan struct {
	shares, threshold int
	keys              []pgpKey
	tokenKey          *pgpKey
}

// Replaces reports whether p may replace the server that is there.
func (p InitParams) Replaces(ctx context.Context, s storage.Storage) bool {
	replaces, err := p.replaceable(ctx, s)
	return replaces && err == nil
}

// replaceable returns ErrAlreadyInitialized unless p may replace the server that is there.
func (p InitParams) replaceable(ctx context.Context, s storage.Storage) (bool, error) {
	unclaimed, err := Unclaimed(ctx, s)
	if err != nil {
		return false, err
	}
	if !p.Again {
		answered, err := answered(ctx, s)
		if err != nil {
			return false, err
		}
		unclaimed = unclaimed && p.Unanswered && !answered
	}
	if !unclaimed {
		return false, ErrAlreadyInitialized
	}
	return true, nil
}

// admissible returns ErrAlreadyInitialized when there is a server that p may not replace. replaces tells that there is
// one that it may.
func (p InitParams) admissible(ctx context.Context, s storage.Storage) (replaces bool, err error) {
	exists, err := barrier.Exists(ctx, s)
	if err != nil || !exists {
		return false, err
	}
	return p.replaceable(ctx, s)
}

// validate checks in Vault's order and words, but that nobody's keys are read for a server that is initialised.
func (p InitParams) validate(ctx context.Context, s storage.Storage, auto seal.Auto) (initPlan, error) {
	plan, texts := initPlan{shares: p.SecretShares, threshold: p.SecretThreshold}, p.PGPKeys
	wrong, what := "incorrect number of PGP keys", "seal"
	if auto != nil {
		plan, texts = initPlan{shares: p.RecoveryShares, threshold: p.RecoveryThreshold}, p.RecoveryPGPKeys
		wrong, what = wrong+" for recovery", "recovery"
	}
	if err := p.checkApplicable(auto); err != nil {
		return initPlan{}, err
	}
	if len(texts) > 0 && len(texts) != plan.shares {
		return initPlan{}, &Error{Kind: ErrInvalid, Message: wrong}
	}
	if auto != nil && plan.shares < 1 {
		return initPlan{}, invalid("recovery configuration must specify a positive number of shares")
	}
	if problem := checkShares(plan.shares, plan.threshold); problem != "" {
		return initPlan{}, invalid("invalid %s configuration: %s", what, problem)
	}
	if _, err := p.admissible(ctx, s); err != nil {
		return initPlan{}, err
	}
	err := p.readKeys(ctx, &plan, texts, what)
	return plan, err
}

// readKeys reads the keys of the shares, and that of the root token, which Vault looks at when everything is stored.
func (p InitParams) readKeys(ctx context.Context, plan *initPlan, texts []string, what string) error {
	r := newPGPReader()
	var err error
	plan.keys, err = r.keys(ctx, texts, func(err error) error {
		return invalid("invalid %s configuration: %v", what, err)
	})
	if err != nil || p.RootTokenPGPKey == "" {
		return err
	}
	key, err := r.key(ctx, p.RootTokenPGPKey)
	plan.tokenKey = &key
	return err
}

// checkApplicable refuses the parameters of the other kind of seal.
func (p InitParams) checkApplicable(auto seal.Auto) error {
	prefix, shares, threshold, keys := "recovery", p.RecoveryShares, p.RecoveryThreshold, "recovery_pgp_keys"
	texts := p.RecoveryPGPKeys
	if auto != nil {
		prefix, shares, threshold, keys = "secret", p.SecretShares, p.SecretThreshold, "pgp_keys"
		texts = p.PGPKeys
	}
	var given []string
	if shares != 0 {
		given = append(given, prefix+"_shares")
	}
	if threshold != 0 {
		given = append(given, prefix+"_threshold")
	}
	if len(texts) > 0 {
		given = append(given, keys)
	}
	if len(given) > 0 {
		return invalid("parameters %s not applicable to seal type %s", strings.Join(given, ","), typeOf(auto))
	}
	return nil
}

// draftServer returns everything to be stored, and the root token.
func draftServer(ctx context.Context, records []storage.Op, root secret.Key, setup Setup) (
	draft []storage.Op, rootToken string, err error,
) {
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

// replacing returns the draft with the removal of everything that the storage has and the draft has not.
func replacing(ctx context.Context, s storage.Storage, draft []storage.Op) ([]storage.Op, error) {
	drafted := make(map[string]bool, len(draft))
	for _, op := range draft {
		drafted[op.Key] = true
	}
	keys, err := storage.Names(ctx, s, "")
	if err != nil {
		return nil, fmt.Errorf("ceremony: the server that nobody used: %w", err)
	}
	for _, key := range keys {
		if !drafted[key] {
			draft = append(draft, storage.Delete(key))
		}
	}
	return draft, nil
}
