package ceremony

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// OTPLength is the length of the one-time password, and of the root token that it hides, in bytes.
const OTPLength = 28

// Barrier is what the ceremonies of an unsealed server need of its barrier. *barrier.Barrier is one.
type Barrier interface {
	// VerifyRoot returns nil when key is the root key.
	VerifyRoot(key secret.Key) error
	// Rekey makes root the root key, in one commit with extra. When it returns an error, VerifyRoot
	// tells which root key the storage has.
	Rekey(ctx context.Context, root secret.Key, extra ...storage.Op) error
}

// MintRoot makes a root token of OTPLength bytes and passes it to deliver. It stores the token only when
// deliver returns nil, so that there is no root token that nobody was given. It returns the token's accessor.
type MintRoot func(ctx context.Context, deliver func(token string) error) (accessor string, err error)

// GenerateRoot is the ceremony that makes a root token, for one session. It is safe for concurrent use.
type GenerateRoot struct {
	storage storage.Storage
	barrier Barrier
	mint    MintRoot
	keys    *pgpReader
	// Expired is called when an attempt ended because nobody went on with it for IdleLimit; nil for nobody. It is
	// set before the first use and must not call back.
	Expired func()
	// Settled is called when the shares from before a rekey have ended; the same holds for it.
	Settled func()

	mu sync.Mutex
	// attempt is guarded by mu, as idle is; nil when there is none.
	attempt *generation
	idle    idle
}

// generation is an attempt. It hides the token with otp, or encrypts it with key.
type generation struct {
	nonce string
	otp   string
	key   *pgpKey
	given panel
}

// GenerateRootStatus is the answer of Vault's sys/generate-root/attempt and /update.
type GenerateRootStatus struct {
	Nonce    string `json:"nonce"`
	Started  bool   `json:"started"`
	Progress int    `json:"progress"`
	Required int    `json:"required"`
	Complete bool   `json:"complete"`
	// EncodedToken is the token when Complete: XOR with the OTP in unpadded base64, or encrypted for the
	// PGP key in base64. EncodedRootToken is the same.
	EncodedToken     string `json:"encoded_token"`
	EncodedRootToken string `json:"encoded_root_token"`
	PGPFingerprint   string `json:"pgp_fingerprint"`
	// OTP is set in the answer of Start, when the server made it.
	OTP string `json:"otp"`
	// OTPLength is 0 in the answer of Update.
	OTPLength int `json:"otp_length"`
	// Accessor is that of the token when Complete. It is for the record; clients are not told.
	Accessor string `json:"-"`
}

// NewGenerateRoot returns the ceremony for an open barrier and the storage below it.
func NewGenerateRoot(s storage.Storage, b Barrier, mint MintRoot) *GenerateRoot {
	return &GenerateRoot{storage: s, barrier: b, mint: mint, keys: newPGPReader()}
}

// Status returns how far the attempt is, if there is one.
func (g *GenerateRoot) Status(ctx context.Context) (GenerateRootStatus, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.statusLocked(ctx)
}

func (g *GenerateRoot) statusLocked(ctx context.Context) (GenerateRootStatus, error) {
	config, err := seal.ReadConfig(ctx, g.storage)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	status := GenerateRootStatus{Required: config.Threshold, OTPLength: OTPLength}
	if g.attempt != nil {
		status.Nonce, status.Started = g.attempt.nonce, true
		status.Progress, status.Required, _ = g.attempt.given.progress(config)
		if g.attempt.key != nil {
			status.PGPFingerprint = g.attempt.key.fingerprint()
		}
	}
	return status, nil
}

// Start begins an attempt. The token is hidden by otp (of OTPLength bytes), or encrypted for pgp (a binary
// public key in base64), or hidden by an OTP that is made here and returned once. otp wins over pgp.
func (g *GenerateRoot) Start(ctx context.Context, otp, pgp string) (GenerateRootStatus, error) {
	attempt, made := &generation{nonce: uuid.NewString(), otp: otp}, ""
	switch {
	case otp != "":
		if len(otp) != OTPLength {
			return GenerateRootStatus{}, invalid("OTP string is wrong length")
		}
	case pgp != "":
		if err := g.free(); err != nil {
			return GenerateRootStatus{}, err
		}
		keys, err := g.keys.keys(ctx, []string{pgp}, func(err error) error {
			return invalid("error parsing PGP key: %v", err)
		})
		if err != nil {
			return GenerateRootStatus{}, err
		}
		attempt.key = &keys[0]
	default:
		made = newOTP()
		attempt.otp = made
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.freeLocked(); err != nil {
		return GenerateRootStatus{}, err
	}
	g.attempt = attempt
	status, err := g.statusLocked(ctx)
	if err != nil {
		g.attempt = nil
		return GenerateRootStatus{}, err
	}
	g.idle.restart(&g.mu, g.expireLocked)
	status.OTP = made
	return status, nil
}

// free returns an error while there is an attempt: nobody's key is read then.
func (g *GenerateRoot) free() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.freeLocked()
}

func (g *GenerateRoot) freeLocked() error {
	if g.attempt != nil {
		return invalid("root generation already in progress")
	}
	return nil
}

// newOTP returns a password of letters and digits. Six random bits choose one; the two values beyond the
// alphabet are drawn again, so that each letter is as likely as the other.
func newOTP() string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	otp := make([]byte, 0, OTPLength)
	var b [1]byte
	for len(otp) < OTPLength {
		_, _ = rand.Read(b[:]) // never returns an error
		if i := int(b[0] & 63); i < len(alphabet) {
			otp = append(otp, alphabet[i])
		}
	}
	return string(otp)
}

// Cancel ends the attempt, if there is one. Anonymous callers get ErrDenied.
func (g *GenerateRoot) Cancel(caller Caller) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attempt == nil {
		return nil
	}
	if err := caller.mayCancel(); err != nil {
		return err
	}
	g.endLocked()
	return nil
}

// Close ends the attempt, if there is one, when the session ends.
func (g *GenerateRoot) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attempt != nil {
		g.endLocked()
	}
}

func (g *GenerateRoot) expireLocked() {
	g.endLocked()
	if g.Expired != nil {
		g.Expired()
	}
}

func (g *GenerateRoot) endLocked() {
	g.attempt.given.clear()
	g.attempt = nil
	g.idle.stop()
}

// Update takes a share in hex or base64. Once there are enough, the answer is Complete and has the token.
// When the shares given turn out to be wrong, those that fit stay and the attempt goes on.
func (g *GenerateRoot) Update(ctx context.Context, nonce, text string) (GenerateRootStatus, error) {
	share, err := shareFor(text, "invalid key: ")
	if err != nil {
		return GenerateRootStatus{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	attempt := g.attempt
	if attempt == nil {
		return GenerateRootStatus{}, invalid("no root generation in progress")
	}
	if nonce != attempt.nonce {
		return GenerateRootStatus{}, invalid(
			"incorrect nonce supplied; nonce for this root generation operation is %q", attempt.nonce)
	}
	config, err := seal.ReadConfig(ctx, g.storage)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	key, given, verdict := attempt.given.add(share, config)
	switch verdict {
	case Repeated:
		return GenerateRootStatus{}, invalid("given key has already been provided during this generation operation")
	case Fit:
		g.idle.restart(&g.mu, g.expireLocked)
		if err := key.settle(ctx, g.storage, config, g.Settled); err != nil {
			return GenerateRootStatus{}, err
		}
	}
	complete, err := given.combine(key.config.Threshold, verdict, func(operators secret.Key) error {
		return g.authenticate(ctx, key, operators)
	})
	if errors.Is(err, seal.ErrShares) {
		err = invalid("failed to compute root key: %s", reasonOf(err))
	}
	if err != nil {
		return GenerateRootStatus{}, err
	}
	status, err := g.statusLocked(ctx)
	if err != nil {
		return GenerateRootStatus{}, err
	}
	status.OTPLength = 0
	if !complete {
		return status, nil
	}
	status.Progress = status.Required
	status.Accessor, err = g.mint(ctx, func(token string) error {
		status.EncodedToken, err = attempt.hide(token)
		return err
	})
	if err != nil {
		return GenerateRootStatus{}, fmt.Errorf("ceremony: make a root token: %w", err)
	}
	status.Complete, status.EncodedRootToken = true, status.EncodedToken
	g.endLocked()
	return status, nil
}

// authenticate checks that the operators' combined key opens the root key.
func (g *GenerateRoot) authenticate(ctx context.Context, k held, operators secret.Key) error {
	root, wrong, err := rootKey(ctx, g.storage, k, operators, seal.TypeShamir)
	if errors.Is(err, seal.ErrWrongKey) {
		return &wrongKeyError{invalid("root generation aborted: unable to authenticate: %s%s",
			wrongPrefix(k.config, operators), wrong)}
	}
	if err != nil {
		return err
	}
	defer root.Zero()
	return g.barrier.VerifyRoot(root)
}

// hide returns the token as only the one who began the attempt can read it.
func (a *generation) hide(token string) (string, error) {
	if a.key != nil {
		encrypted, err := a.key.encrypt([]byte(token))
		return base64.StdEncoding.EncodeToString(encrypted), err
	}
	if len(token) != OTPLength {
		return "", fmt.Errorf("ceremony: a root token of %d bytes does not fit the OTP", len(token))
	}
	hidden := make([]byte, OTPLength)
	subtle.XORBytes(hidden, []byte(token), []byte(a.otp))
	return base64.RawStdEncoding.EncodeToString(hidden), nil
}
