package ceremony

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"coffer/barrier/record"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// Rekey is the ceremony that replaces keys, for one session: the unseal key, its shares and the root key; or,
// where a seal opens by itself, the root key alone; or the recovery key and its shares. It is safe for concurrent
// use.
type Rekey struct {
	storage storage.Storage
	barrier Barrier
	// auto is the seal of the configuration; nil for Shamir's.
	auto seal.Auto
	// reader reads the keys of both ceremonies.
	reader *pgpReader
	// recovery tells that it is the recovery key that is replaced.
	recovery bool

	// mu is one lock for the two ceremonies of a session: an attempt at the recovery key holds the root
	// key, which the other ceremony replaces.
	mu *sync.Mutex
	// attempt is guarded by mu, as idle is; nil when there is none.
	attempt *rekeying
	idle    idle

	// Expired is called when an attempt ended because nobody went on with it for IdleLimit; nil for nobody. It is
	// set before the first use and must not call back.
	Expired func()
	// Settled is called when the shares from before an earlier rekey have ended; the same holds for it.
	Settled func()
}

// rekeying is an attempt.
type rekeying struct {
	nonce  string
	params RekeyParams
	keys   []pgpKey
	given  panel
	// unseal is the new unseal or recovery key once the old shares were given and verification is required;
	// until then it is empty. verified collects its shares, which marks are of, under the verification nonce.
	// root is the root key that the new recovery key is to open.
	unseal            secret.Key
	marks             *seal.Marks
	root              secret.Key
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
	// FormerShares tells that the shares from before the last rekey are still good.
	FormerShares bool `json:"-"`
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

// NewRekey returns the ceremony for an open barrier, the storage below it, and the seal that opens by itself; nil
// for Shamir's.
func NewRekey(s storage.Storage, b Barrier, auto seal.Auto) *Rekey {
	return &Rekey{storage: s, barrier: b, auto: auto, mu: new(sync.Mutex), reader: newPGPReader()}
}

// Recovery returns the ceremony for the recovery key of the same session.
func (r *Rekey) Recovery() *Rekey {
	return &Rekey{storage: r.storage, barrier: r.barrier, auto: r.auto, recovery: true, mu: r.mu,
		reader: r.reader}
}

// Supported is an ErrInvalid for the recovery key of a seal that has none.
func (r *Rekey) Supported() error {
	if r.recovery && r.auto == nil {
		return invalid("recovery rekeying not supported")
	}
	return nil
}

// splits reports whether the ceremony makes shares. A new root key under a seal that opens by itself has none.
func (r *Rekey) splits() bool { return r.recovery || r.auto == nil }

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
	status := RekeyStatus{Required: config.Threshold, FormerShares: config.Former != nil}
	if a := r.attempt; a != nil {
		status.Nonce, status.Started = a.nonce, true
		status.Progress, status.Required, _ = a.given.progress(config)
		status.T, status.N = a.params.SecretThreshold, a.params.SecretShares
		status.PGPFingerprints = fingerprints(a.keys)
		status.Backup, status.VerificationRequired = a.params.Backup, a.params.RequireVerification
		status.VerificationNonce = a.verificationNonce
	}
	return status, nil
}

// Start begins an attempt. What is wrong with p is an ErrInvalid or an ErrFailed, as in Vault.
func (r *Rekey) Start(ctx context.Context, p RekeyParams) (RekeyStatus, error) {
	if err := r.validate(&p); err != nil {
		return RekeyStatus{}, err
	}
	if len(p.PGPKeys) > 0 {
		if err := r.free(); err != nil {
			return RekeyStatus{}, err
		}
	}
	keys, err := r.reader.keys(ctx, p.PGPKeys, r.badConfiguration)
	if err != nil {
		return RekeyStatus{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.freeLocked(); err != nil {
		return RekeyStatus{}, err
	}
	r.attempt = &rekeying{nonce: uuid.NewString(), params: p, keys: keys}
	status, err := r.statusLocked(ctx)
	if err != nil {
		r.attempt = nil
		return RekeyStatus{}, err
	}
	r.idle.restart(r.mu, r.expireLocked)
	return status, nil
}

// validate checks in Vault's order all but the keys, and sets the numbers where they mean nothing.
func (r *Rekey) validate(p *RekeyParams) error {
	switch {
	case p.Backup && len(p.PGPKeys) == 0:
		return invalid("cannot request a backup of the new keys without providing PGP keys for encryption")
	case len(p.PGPKeys) > 0 && len(p.PGPKeys) != p.SecretShares:
		return invalid("incorrect number of PGP keys for rekey")
	case p.SecretThreshold > p.SecretShares:
		return invalid("provided threshold greater than the total shares")
	case !r.splits() && len(p.PGPKeys) > 0:
		return invalid("PGP key encryption not supported when using stored keys")
	case !r.splits() && p.RequireVerification:
		return invalid("requiring verification not supported when rekeying the barrier key with recovery keys")
	}
	if !r.splits() {
		p.SecretShares, p.SecretThreshold = 1, 1
	}
	if problem := checkShares(p.SecretShares, p.SecretThreshold); problem != "" {
		return r.badConfiguration(errors.New(problem))
	}
	return nil
}

func (r *Rekey) badConfiguration(err error) error {
	what := "rekey seal"
	if r.recovery {
		what = "recovery"
	}
	return failed("invalid %s configuration: %v", what, err)
}

// free returns an error while there is an attempt: nobody's keys are read then.
func (r *Rekey) free() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freeLocked()
}

func (r *Rekey) freeLocked() error {
	if r.attempt != nil {
		return invalid("rekey already in progress")
	}
	return nil
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

// Close ends the attempt, if there is one, when the session ends.
func (r *Rekey) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt != nil {
		r.endLocked()
	}
}

// EndFormer ends the shares from before the last rekey. Anonymous callers get ErrDenied.
func (r *Rekey) EndFormer(ctx context.Context, caller Caller) error {
	if err := caller.mayCancel(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := Settle(ctx, r.storage)
	return err
}

func (r *Rekey) expireLocked() {
	r.endLocked()
	if r.Expired != nil {
		r.Expired()
	}
}

func (r *Rekey) endLocked() {
	r.idle.stop()
	r.attempt.given.clear()
	r.attempt.verified.clear()
	r.attempt.unseal.Zero()
	r.attempt.root.Zero()
	r.attempt = nil
}

// Update takes a share of the present key in hex or base64. Of status and result one is set: the result once
// there are enough shares. When the shares given turn out to be wrong, those that fit stay and the attempt goes on.
func (r *Rekey) Update(ctx context.Context, nonce, text string) (*RekeyStatus, *RekeyResult, error) {
	share, err := shareFor(text, "")
	if err != nil {
		return nil, nil, err
	}
	if r.Supported() != nil {
		return nil, nil, failed("failed to fetch existing recovery config: recovery not supported")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	config, err := seal.ReadConfig(ctx, r.storage)
	if err != nil {
		return nil, nil, err
	}
	key, given, verdict, err := r.takeLocked(ctx, nonce, share, config)
	if err != nil {
		return nil, nil, err
	}
	old := authority{config: key.config}
	complete, err := given.combine(key.config.Threshold, verdict, func(operators secret.Key) (err error) {
		old.operators = operators.Clone()
		old.root, err = r.authenticate(ctx, key, operators)
		return err
	})
	defer old.zero()
	switch {
	case errors.Is(err, seal.ErrShares):
		what := "root key"
		if r.recovery {
			what = "recovery key"
		}
		return nil, nil, failed("failed to compute %s: %s", what, reasonOf(err))
	case err != nil:
		return nil, nil, err
	case !complete:
		status, err := r.statusLocked(ctx)
		return &status, nil, err
	}
	result, err := r.finishLocked(ctx, old)
	return nil, result, err
}

// authority is the key by whose shares new ones are made, and the root key that it opens.
type authority struct {
	config          seal.Config
	operators, root secret.Key
}

func (a authority) zero() {
	a.operators.Zero()
	a.root.Zero()
}

// keep keeps the shares of a good for the root key root, beside those that c is about. For nil it keeps none.
func (a *authority) keep(ctx context.Context, c *seal.Config, root secret.Key) (err error) {
	if a != nil {
		c.Former, err = seal.NewFormer(ctx, a.config, root, a.operators)
	}
	return err
}

// takeLocked adds a share of the present key to the attempt.
func (r *Rekey) takeLocked(ctx context.Context, nonce string, share secret.Key, c seal.Config) (
	key held, given *quorum, verdict Verdict, err error,
) {
	kind, operation := "barrier", "generation"
	if r.recovery {
		kind, operation = "recovery", "rekey"
	}
	a := r.attempt
	switch {
	case a == nil:
		return held{}, nil, Repeated, invalid("no %s rekey in progress", kind)
	case a.unseal.Len() > 0:
		return held{}, nil, Repeated, invalid("rekey operation already finished; verification must be performed; "+
			"nonce for the verification operation is %q", a.verificationNonce)
	case nonce != a.nonce:
		return held{}, nil, Repeated, invalid("incorrect nonce supplied; nonce for this rekey operation is %q", a.nonce)
	}
	key, given, verdict = a.given.add(share, c)
	switch verdict {
	case Repeated:
		err = invalid("given key has already been provided during this %s operation", operation)
	case Fit:
		r.idle.restart(r.mu, r.expireLocked)
		err = key.settle(ctx, r.storage, c, r.Settled)
	}
	return key, given, verdict, err
}

// authenticate checks that the operators' combined key is the present one, and returns the root key.
func (r *Rekey) authenticate(ctx context.Context, k held, operators secret.Key) (secret.Key, error) {
	root, wrong, err := rootKey(ctx, r.storage, k, operators, "")
	switch {
	case err == nil:
		if err = r.barrier.VerifyRoot(root); err != nil {
			root.Zero()
			return secret.Key{}, err
		}
		return root, nil
	case !errors.Is(err, seal.ErrWrongKey):
		return secret.Key{}, err
	case r.auto != nil:
		err = invalid("recovery key verification failed: %s", wrong)
	case badKeySize(operators) != "":
		err = failed("%s", wrong)
	default:
		err = failed("failed to read root key: invalid key: %s", wrong)
	}
	return secret.Key{}, &wrongKeyError{err}
}

// finishLocked makes the new key and its shares. They take effect now, or when they were verified.
func (r *Rekey) finishLocked(ctx context.Context, old authority) (*RekeyResult, error) {
	a := r.attempt
	result := &RekeyResult{
		Nonce: a.nonce, Complete: true, PGPFingerprints: fingerprints(a.keys),
		Backup: a.params.Backup, VerificationRequired: a.params.RequireVerification,
	}
	if !r.splits() {
		result.ShareList = noShares()
		if err := r.replaceRootLocked(ctx, old); err != nil {
			return nil, err
		}
		r.endLocked()
		return result, nil
	}
	unseal := secret.Random(seal.UnsealKeySize)
	var err error
	result.ShareList, a.marks, err = splitKey(ctx, unseal, a.params.SecretShares, a.params.SecretThreshold, a.keys)
	if err != nil {
		return nil, err
	}
	var extra []storage.Op
	if a.params.Backup {
		op, err := r.backupOp(a.nonce, result.ShareList, a.keys)
		if err != nil {
			return nil, err
		}
		extra = append(extra, op)
	}
	if r.recovery {
		a.root = old.root.Clone()
	}
	if a.params.RequireVerification {
		if err := r.storage.Apply(ctx, extra...); err != nil {
			return nil, fmt.Errorf("ceremony: back up the new shares: %w", err)
		}
		a.unseal, a.verificationNonce = unseal, uuid.NewString()
		result.VerificationNonce = a.verificationNonce
		return result, nil
	}
	defer unseal.Zero()
	if err := r.performLocked(ctx, unseal, &old, extra...); err != nil {
		return nil, err
	}
	r.endLocked()
	return result, nil
}

// performLocked makes the new unseal or recovery key take effect, an unseal key together with a new root key. When
// the storage reports a failure but has the new keys, they are in effect, and the shares must be handed out. The old
// shares stay good beside them, unless old is nil because the new ones are known to have reached their owners.
func (r *Rekey) performLocked(ctx context.Context, key secret.Key, old *authority, extra ...storage.Op) error {
	params := r.attempt.params
	config := seal.Config{Type: typeOf(r.auto), Shares: params.SecretShares, Threshold: params.SecretThreshold,
		Marks: r.attempt.marks}
	if !r.recovery {
		return r.replaceLocked(ctx, config, key, old, extra...)
	}
	// Since the old shares were given, the other ceremony may have replaced the root key.
	if err := r.barrier.VerifyRoot(r.attempt.root); err != nil {
		r.endLocked()
		return failed("the root key was replaced meanwhile; begin the rekey anew")
	}
	if err := old.keep(ctx, &config, r.attempt.root); err != nil {
		return err
	}
	records, err := seal.RecoveryRecords(ctx, config, r.attempt.root, key)
	if err != nil {
		return err
	}
	if err := Commit(ctx, r.storage, seal.RecoveryKeyPath, append(records, extra...)); err != nil {
		return fmt.Errorf("ceremony: rekey: %w", err)
	}
	return nil
}

// replaceRootLocked makes a new root key under a seal that opens by itself; the recovery key stays. It refuses
// where the seal does not open the data: then the server was unsealed by hand, and a new root key under
// the key at hand would settle, in passing, that the other one is lost.
func (r *Rekey) replaceRootLocked(ctx context.Context, old authority) error {
	root, err := seal.RootKey(ctx, r.storage, r.auto)
	root.Zero()
	if errors.Is(err, seal.ErrWrongKey) || errors.Is(err, seal.ErrNoKey) {
		return errors.Join(failed("the key of the seal does not open the data; nothing was changed"), err)
	}
	if err != nil {
		return err
	}
	return r.replaceLocked(ctx, old.config, old.operators, nil)
}

// replaceLocked makes a new root key, which operators and the seal, if it opens by itself, open. The old shares, if
// there are any, open it too.
func (r *Rekey) replaceLocked(
	ctx context.Context, c seal.Config, operators secret.Key, old *authority, extra ...storage.Op,
) error {
	root := secret.Random(record.KeySize)
	defer root.Zero()
	if err := old.keep(ctx, &c, root); err != nil {
		return err
	}
	records, err := seal.RecordsWith(ctx, r.auto, c, root, operators)
	if err != nil {
		return unavailable(err)
	}
	err = r.barrier.Rekey(ctx, root, append(records, extra...)...)
	if err != nil && r.barrier.VerifyRoot(root) != nil {
		return fmt.Errorf("ceremony: rekey: %w", err)
	}
	return nil
}
