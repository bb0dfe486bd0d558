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

// Init initializes the storage for the seal that opens by itself, or for Shamir's when auto is nil. Everything
// is validated first; then barrier, seal and whatever setup writes are drafted in memory, and stored in one
// Apply. So there is either nothing, or a server whose keys and token the caller has in hand. Two calls at once
// are the caller's to prevent.
func Init(ctx context.Context, s storage.Storage, auto seal.Auto, p InitParams, setup Setup) (InitResult, error) {
	plan, err := p.validate(ctx, s, auto)
	if err != nil {
		return InitResult{}, err
	}
	root, operators := secret.Random(record.KeySize), secret.Random(seal.UnsealKeySize)
	defer root.Zero()
	defer operators.Zero()
	list, marks, err := splitKey(operators, plan.shares, plan.threshold, plan.keys)
	if err != nil {
		return InitResult{}, err
	}
	config := seal.Config{Shares: plan.shares, Threshold: plan.threshold, Marks: marks, Unclaimed: true}
	records, err := seal.RecordsWith(ctx, auto, config, root, operators)
	if err != nil {
		return InitResult{}, unavailable(err)
	}
	draft, token, err := draftServer(ctx, records, root, setup)
	if err != nil {
		return InitResult{}, err
	}
	if plan.tokenKey != nil {
		encrypted, err := plan.tokenKey.encrypt([]byte(token))
		if err != nil {
			return InitResult{}, err
		}
		token = base64.StdEncoding.EncodeToString(encrypted)
	}
	if plan.replaces {
		if draft, err = replacing(ctx, s, draft); err != nil {
			return InitResult{}, err
		}
	}
	if err := Commit(ctx, s, seal.RootKeyPath, draft); err != nil {
		return InitResult{}, fmt.Errorf("ceremony: store the new server: %w", err)
	}
	if auto == nil {
		return InitResult{ShareList: list, RootToken: token}, nil
	}
	return InitResult{ShareList: noShares(), RecoveryKeys: list.Keys, RecoveryKeysBase64: list.KeysBase64,
		RootToken: token}, nil
}

// initPlan is what InitParams ask for, checked.
type initPlan struct {
	shares, threshold int
	keys              []pgpKey
	tokenKey          *pgpKey
	// replaces tells that there is a server, which nobody has used.
	replaces bool
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

// validate checks in Vault's order and words.
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
	var err error
	if plan.keys, err = parsePGPKeys(texts); err != nil {
		return initPlan{}, invalid("invalid %s configuration: %v", what, err)
	}
	exists, err := barrier.Exists(ctx, s)
	if err != nil {
		return initPlan{}, err
	}
	if exists {
		if plan.replaces, err = p.replaceable(ctx, s); err != nil {
			return initPlan{}, err
		}
	}
	if p.RootTokenPGPKey != "" {
		// Vault looks at this key last, when everything else is done and stored.
		key, err := parsePGPKey(p.RootTokenPGPKey)
		if err != nil {
			return initPlan{}, err
		}
		plan.tokenKey = &key
	}
	return plan, nil
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
	for folders := []string{""}; len(folders) > 0; folders = folders[1:] {
		names, err := s.List(ctx, folders[0], "", 0)
		if err != nil {
			return nil, fmt.Errorf("ceremony: list the server that nobody used: %w", err)
		}
		for _, name := range names {
			key := folders[0] + name
			switch {
			case strings.HasSuffix(key, "/"):
				folders = append(folders, key)
			case !drafted[key]:
				draft = append(draft, storage.Delete(key))
			}
		}
	}
	return draft, nil
}
