package ceremony

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
)

// VerifyStatus is the answer of Vault's sys/rekey/verify before the last share.
type VerifyStatus struct {
	Nonce    string `json:"nonce"`
	Started  bool   `json:"started"`
	T        int    `json:"t"`
	N        int    `json:"n"`
	Progress int    `json:"progress"`
}

// VerifyResult is the answer of Vault's sys/rekey/verify after the last share.
type VerifyResult struct {
	Nonce    string `json:"nonce"`
	Complete bool   `json:"complete"`
}

func (a *rekeying) verifyStatus() VerifyStatus {
	return VerifyStatus{
		Nonce: a.verificationNonce, Started: a.unseal.Len() > 0,
		T: a.params.SecretThreshold, N: a.params.SecretShares, Progress: a.verified.progress(),
	}
}

// restart drops the new shares that were given back.
func (a *rekeying) restartVerification() {
	a.verified.clear()
	a.verificationNonce = uuid.NewString()
}

// VerifyStatus returns how far the verification of the attempt is. Without an attempt it is an ErrInvalid.
func (r *Rekey) VerifyStatus() (VerifyStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt == nil {
		return VerifyStatus{}, invalid("no rekey configuration found")
	}
	return r.attempt.verifyStatus(), nil
}

// VerifyCancel drops the new shares that were given back; the attempt goes on with a new verification nonce.
// Anonymous callers get ErrDenied.
func (r *Rekey) VerifyCancel(caller Caller) (VerifyStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.attempt == nil {
		return VerifyStatus{}, invalid("no rekey configuration found")
	}
	if err := caller.mayCancel(); err != nil {
		return VerifyStatus{}, err
	}
	if r.attempt.unseal.Len() > 0 {
		r.attempt.restartVerification()
	}
	return r.attempt.verifyStatus(), nil
}

// Verify takes a share of the new key in hex or base64. Of status and result one is set: the result once
// enough were given back and the new key is in effect. When the shares given turn out to be wrong, those that fit
// stay, and so does the nonce.
func (r *Rekey) Verify(ctx context.Context, nonce, text string) (*VerifyStatus, *VerifyResult, error) {
	share, err := shareFor(text, "")
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.attempt
	switch {
	case a == nil:
		return nil, nil, invalid("no rekey in progress")
	case a.unseal.Len() == 0:
		return nil, nil, invalid("no rekey verification in progress")
	case nonce != a.verificationNonce:
		return nil, nil, invalid("incorrect nonce supplied; nonce for this verify operation is %q", a.verificationNonce)
	}
	verdict := a.verified.add(share, a.marks)
	switch verdict {
	case Repeated:
		return nil, nil, invalid("given key has already been provided during this verify operation")
	case Fit:
		r.idle.restart(r.mu, r.expireLocked)
	}
	complete, err := a.verified.combine(a.params.SecretThreshold, verdict, a.verify)
	switch {
	case errors.Is(err, seal.ErrShares):
		return nil, nil, failed("failed to compute key for verification: %s", reasonOf(err))
	case err != nil:
		return nil, nil, err
	case !complete:
		status := a.verifyStatus()
		return &status, nil, nil
	}
	if err := r.performLocked(ctx, a.unseal, nil); err != nil {
		return nil, nil, err
	}
	result := &VerifyResult{Nonce: a.verificationNonce, Complete: true}
	r.endLocked()
	return nil, result, nil
}

// verify checks that the shares given back are those of the new key.
func (a *rekeying) verify(key secret.Key) error {
	if !key.Equal(a.unseal) {
		return &wrongKeyError{invalid("rekey verification failed; incorrect key shares supplied")}
	}
	return nil
}
