package ceremony

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"coffer/barrier/record"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// Rekey is the ceremony that replaces the shares of the unseal key, and with them the unseal key and the root
// key, for one session. It is safe for concurrent use.
type Rekey struct {
	storage storage.Storage
	barrier Barrier

	mu sync.Mutex
	// attempt is guarded by mu; nil when there is none.
	attempt *rekeying
}

// rekeying is an attempt.
type rekeying struct {
	nonce  string
	params RekeyParams
	keys   []pgpKey
	given  quorum
	// unseal is the new unseal key once the old shares were given and verification is required; until
	// then it is empty. verified collects its shares, under the verification nonce.
	unseal            secret.Key
	verified          quorum
	verificationNonce string
}

// RekeyParams is the body of Vault's sys/rekey/init. stored_shares is accepted there and means nothing.
type RekeyParams struct {
	SecretShares    int `json:"secret_shares"`
	SecretThreshold int `json:"secret_threshold"`
	// PGPKeys encrypt the new shares, one key for each: binary public keys in base64.
	PGPKeys []string `json:"pgp_keys"`
	// Backup keeps the encrypted shares in the storage; it needs PGPKeys.
	Backup bool `json:"backup"`
	// RequireVerification lets the new shares take effect only when enough of them were given back.
	RequireVerification bool `json:"require_verification"`
}

// RekeyStatus is the answer of Vault's sys/rekey/init, and of /update before the last share.
type RekeyStatus struct {
	Nonce    string `json:"nonce"`
	Started  bool   `json:"started"`
	T        int    `json:"t"`
	N        int    `json:"n"`
	Progress int    `json:"progress"`
	// Required is how many shares of the present key are needed.
	Required             int      `json:"required"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

// RekeyResult is the answer of Vault's sys/rekey/update after the last share.
type RekeyResult struct {
	Nonce    string `json:"nonce"`
	Complete bool   `json:"complete"`
	ShareList
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

// NewRekey returns the ceremony for an open barrier and the storage below it.
func NewRekey(s storage.Storage, b Barrier) *Rekey { return &Rekey{storage: s, barrier: b} }

// Status returns how far the attempt is, if there is one.
func (r *Rekey) Status(ctx context.Context) (RekeyStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.statusLocked(ctx)
}

func (r *Rekey) statusLocked(ctx context.Context) (RekeyStatus, error) {
	config, err := seal.ReadConfig(ctx, r.storage)
	if err != nil {
		return RekeyStatus{}, err
	}
	status := RekeyStatus{Required: config.Threshold}
	if a := r.attempt; a != nil {
		status.Nonce, status.Started, status.Progress = a.nonce, true, a.given.progress()
		status.T, status.N = a.params.SecretThreshold, a.params.SecretShares
		status.PGPFingerprints = fingerprints(a.keys)
		status.Backup, status.VerificationRequired = a.params.Backup, a.params.RequireVerification
		status.VerificationNonce = a.verificationNonce
	}
	return status, nil
}

// Start begins an attempt. What is wrong with p is an ErrInvalid or an ErrFailed, as in Vault.
func (r *Rekey) Start(ctx context.Context, p RekeyParams) (RekeyStatus, error) {
	keys, err := p.validate()
	if err != nil {
		return RekeyStatus{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt != nil {
		return RekeyStatus{}, invalid("rekey already in progress")
	}
	r.attempt = &rekeying{nonce: newNonce(), params: p, keys: keys}
	status, err := r.statusLocked(ctx)
	if err != nil {
		r.attempt = nil
	}
	return status, err
}

func (p RekeyParams) validate() ([]pgpKey, error) {
	switch {
	case p.Backup && len(p.PGPKeys) == 0:
		return nil, invalid("cannot request a backup of the new keys without providing PGP keys for encryption")
	case len(p.PGPKeys) > 0 && len(p.PGPKeys) != p.SecretShares:
		return nil, invalid("incorrect number of PGP keys for rekey")
	case p.SecretThreshold > p.SecretShares:
		return nil, invalid("provided threshold greater than the total shares")
	}
	if problem := checkShares(p.SecretShares, p.SecretThreshold); problem != "" {
		return nil, failed("invalid rekey seal configuration: %s", problem)
	}
	keys, err := parsePGPKeys(p.PGPKeys)
	if err != nil {
		return nil, failed("invalid rekey seal configuration: %v", err)
	}
	return keys, nil
}

// Cancel ends the attempt, if there is one. The nonce must be the attempt's, and anonymous callers get
// ErrDenied.
func (r *Rekey) Cancel(caller Caller, nonce string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt == nil {
		return nil
	}
	if nonce != r.attempt.nonce {
		return invalid("invalid request")
	}
	if err := caller.mayCancel(); err != nil {
		return err
	}
	r.endLocked()
	return nil
}

func (r *Rekey) endLocked() {
	r.attempt.given.clear()
	r.attempt.verified.clear()
	r.attempt.unseal.Zero()
	r.attempt = nil
}

// Update takes a share of the present key in hex or base64. Of status and result one is set: the result once
// there are enough shares. Wrong shares are dropped and the attempt goes on.
func (r *Rekey) Update(ctx context.Context, nonce, text string) (status *RekeyStatus, result *RekeyResult, err error) {
	share, err := shareFor(text, "")
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.attempt
	switch {
	case a == nil:
		return nil, nil, invalid("no barrier rekey in progress")
	case a.unseal.Len() > 0:
		return nil, nil, invalid("rekey operation already finished; verification must be performed; "+
			"nonce for the verification operation is %q", a.verificationNonce)
	case nonce != a.nonce:
		return nil, nil, invalid("incorrect nonce supplied; nonce for this rekey operation is %q", a.nonce)
	case !a.given.add(share):
		return nil, nil, invalid("given key has already been provided during this generation operation")
	}
	now, err := r.statusLocked(ctx)
	if err != nil {
		return nil, nil, err
	}
	if now.Progress < now.Required {
		return &now, nil, nil
	}
	if err := r.authenticateLocked(ctx); err != nil {
		return nil, nil, err
	}
	result, err = r.finishLocked(ctx)
	return nil, result, err
}

// authenticateLocked checks that the shares given are those of the root key, and drops them.
func (r *Rekey) authenticateLocked(ctx context.Context) error {
	unseal, err := r.attempt.given.combine()
	if err != nil {
		return failed("failed to compute root key: %s", reasonOf(err))
	}
	defer unseal.Zero()
	root, wrong, err := rootKey(ctx, r.storage, unseal, "")
	switch {
	case errors.Is(err, seal.ErrWrongKey) && badKeySize(unseal) != "":
		return failed("%s", wrong)
	case errors.Is(err, seal.ErrWrongKey):
		return failed("failed to read root key: invalid key: %s", wrong)
	case err != nil:
		return err
	}
	defer root.Zero()
	return r.barrier.VerifyRoot(root)
}

// finishLocked makes the new unseal key and its shares. They take effect now, or when they were verified.
func (r *Rekey) finishLocked(ctx context.Context) (*RekeyResult, error) {
	a := r.attempt
	unseal := secret.Random(seal.UnsealKeySize)
	shares, err := seal.Split(unseal, a.params.SecretShares, a.params.SecretThreshold)
	if err != nil {
		return nil, err
	}
	list, err := newShareList(shares, a.keys)
	for _, share := range shares {
		share.Zero()
	}
	if err != nil {
		return nil, err
	}
	result := &RekeyResult{
		Nonce: a.nonce, Complete: true, ShareList: list, PGPFingerprints: fingerprints(a.keys),
		Backup: a.params.Backup, VerificationRequired: a.params.RequireVerification,
	}
	var extra []storage.Op
	if a.params.Backup {
		op, err := backupOp(a.nonce, list, a.keys)
		if err != nil {
			return nil, err
		}
		extra = append(extra, op)
	}
	if a.params.RequireVerification {
		if err := r.storage.Apply(ctx, extra...); err != nil {
			return nil, fmt.Errorf("ceremony: back up the new shares: %w", err)
		}
		a.unseal, a.verificationNonce = unseal, newNonce()
		result.VerificationNonce = a.verificationNonce
		return result, nil
	}
	defer unseal.Zero()
	if err := r.performLocked(ctx, unseal, extra...); err != nil {
		return nil, err
	}
	r.endLocked()
	return result, nil
}

// performLocked makes the new unseal key and a new root key take effect. When the storage reports a failure
// but has the new keys, they are in effect, and the shares must be handed out.
func (r *Rekey) performLocked(ctx context.Context, unseal secret.Key, extra ...storage.Op) error {
	params := r.attempt.params
	config := seal.Config{Type: seal.TypeShamir, Shares: params.SecretShares, Threshold: params.SecretThreshold}
	root := secret.Random(record.KeySize)
	defer root.Zero()
	records, err := seal.Records(ctx, seal.NewShamir(unseal), config, root)
	if err != nil {
		return err
	}
	err = r.barrier.Rekey(ctx, root, append(records, extra...)...)
	if err != nil && r.barrier.VerifyRoot(root) != nil {
		return fmt.Errorf("ceremony: rekey: %w", err)
	}
	return nil
}

// backupPath is where encrypted shares are kept, in the storage below the barrier.
const backupPath = "core/unseal-keys-backup"

// RekeyBackup is the answer of Vault's sys/rekey/backup: the encrypted shares by the fingerprint of the
// key that they are encrypted for.
type RekeyBackup struct {
	Nonce      string              `json:"nonce"`
	Keys       map[string][]string `json:"keys"`
	KeysBase64 map[string][]string `json:"keys_base64"`
}

func backupOp(nonce string, list ShareList, keys []pgpKey) (storage.Op, error) {
	b := RekeyBackup{Nonce: nonce, Keys: map[string][]string{}, KeysBase64: map[string][]string{}}
	for i, key := range keys {
		id := key.fingerprint()
		b.Keys[id] = append(b.Keys[id], list.Keys[i])
		b.KeysBase64[id] = append(b.KeysBase64[id], list.KeysBase64[i])
	}
	data, err := json.Marshal(b)
	if err != nil {
		return storage.Op{}, fmt.Errorf("ceremony: encode the backup: %w", err)
	}
	return storage.Put(backupPath, data), nil
}

// Backup returns the shares that the last rekey with Backup made, or an ErrInvalid when there are none.
func (r *Rekey) Backup(ctx context.Context) (RekeyBackup, error) {
	data, err := r.storage.Get(ctx, backupPath)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return RekeyBackup{}, invalid("no backed-up keys found")
	case err != nil:
		return RekeyBackup{}, fmt.Errorf("ceremony: read %s: %w", backupPath, err)
	}
	return decodeBackup(data)
}

func decodeBackup(data []byte) (RekeyBackup, error) {
	var b RekeyBackup
	if err := json.Unmarshal(data, &b); err != nil {
		return RekeyBackup{}, fmt.Errorf("ceremony: %s is damaged: %w", backupPath, err)
	}
	return b, nil
}

// DeleteBackup removes the backup, if there is one.
func (r *Rekey) DeleteBackup(ctx context.Context) error {
	if err := r.storage.Apply(ctx, storage.Delete(backupPath)); err != nil {
		return fmt.Errorf("ceremony: delete %s: %w", backupPath, err)
	}
	return nil
}
