package core

import (
	"context"
	"errors"
	"time"

	"coffer/barrier"
	"coffer/barrier/record"
	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/engines"
	"coffer/server/ceremony"
)

// errNoBody is Vault's answer where it wants a body and gets none.
var errNoBody = engines.Invalid("EOF")

// Init serves `PUT sys/init`: it makes the barrier, its keys and the root token in one commit. The server
// stays sealed, unless its seal opens by itself. The answer may be lost: until somebody used a share or a token, who
// sits at the machine can ask again, and gets a new server. When an answer was sent it takes the parameter "again" too.
func (c *Core) Init(ctx context.Context, call Call) (any, error) {
	if call.Params == nil {
		return nil, errNoBody
	}
	p, err := engines.Decode[initParams](call.Params)
	if err != nil {
		return nil, err
	}
	params := p.ceremony()
	params.Unanswered = call.Standing == AtMachine
	params.Again = params.Again && call.Standing == AtMachine
	result, err := c.initialize(ctx, params, engines.Token{})
	if err != nil {
		c.journal.limited(call, "init refused", "error", err)
		return nil, err
	}
	c.journal.log(call, "init: the keys and the root token are on their way to the client")
	defer c.cfg.scrubLater()
	// The keys must reach the caller, whatever becomes of the unsealing; it is logged.
	_ = c.AutoUnseal(ctx)
	return result, nil
}

type initParams struct {
	SecretShares      int      `param:"secret_shares"`
	SecretThreshold   int      `param:"secret_threshold"`
	PGPKeys           []string `param:"pgp_keys"`
	RootTokenPGPKey   string   `param:"root_token_pgp_key"`
	RecoveryShares    int      `param:"recovery_shares"`
	RecoveryThreshold int      `param:"recovery_threshold"`
	RecoveryPGPKeys   []string `param:"recovery_pgp_keys"`
	// Again is coffer's own.
	Again bool `param:"again"`
}

func (p initParams) ceremony() ceremony.InitParams {
	return ceremony.InitParams{
		SecretShares: p.SecretShares, SecretThreshold: p.SecretThreshold, PGPKeys: p.PGPKeys,
		RootTokenPGPKey: p.RootTokenPGPKey, RecoveryShares: p.RecoveryShares,
		RecoveryThreshold: p.RecoveryThreshold, RecoveryPGPKeys: p.RecoveryPGPKeys, Again: p.Again,
	}
}

// initialize initialises the store; the root token is a new one unless wanted is set.
func (c *Core) initialize(
	ctx context.Context, p ceremony.InitParams, wanted engines.Token,
) (ceremony.InitResult, error) {
	draft, err := c.draft(ctx, p, wanted)
	if err != nil {
		return ceremony.InitResult{}, c.public(err)
	}
	result, ended, err := c.storeDraft(ctx, p, draft)
	if err == nil {
		c.cfg.Logger.Info("initialized", "seal", c.sealType())
	} else if ended {
		_ = c.AutoUnseal(ctx) // it is logged
	}
	return result, c.public(err)
}

// draft makes the new server in memory, one at a time. Who opens and seals the present one does not wait for it.
func (c *Core) draft(ctx context.Context, p ceremony.InitParams, wanted engines.Token) (*ceremony.InitDraft, error) {
	select {
	case c.drafting <- struct{}{}:
		defer func() { <-c.drafting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	setup := func(ctx context.Context, draft *barrier.Barrier) (string, error) {
		s, err := newSession(ctx, c.cfg, &c.flights, draft)
		if err != nil {
			return "", err
		}
		defer s.stop()
		if !wanted.IsZero() {
			return wanted.Reveal(), s.tokens.CreateRootAs(ctx, wanted)
		}
		token, err := s.tokens.CreateRoot(ctx)
		return token.Reveal(), err
	}
	return ceremony.DraftInit(ctx, c.cfg.Storage, c.cfg.Seal, p, setup)
}

// storeDraft stores the new server. ended tells that the session of the one that it replaces was ended for it.
func (c *Core) storeDraft(
	ctx context.Context, p ceremony.InitParams, draft *ceremony.InitDraft,
) (result ceremony.InitResult, ended bool, err error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	ended = p.Unanswered && c.endUnclaimedLocked(ctx, p)
	result, err = draft.Store(ctx)
	return result, ended, err
}

// InitStatus serves `GET sys/init`.
func (c *Core) InitStatus(ctx context.Context, _ Call) (any, error) {
	initialized, err := c.initialized(ctx)
	return map[string]bool{"initialized": initialized}, err
}

func (c *Core) initialized(ctx context.Context) (bool, error) {
	return barrier.Exists(ctx, c.cfg.Storage)
}

// SealStatus is the answer of `sys/seal-status`.
type SealStatus struct {
	Type         string `json:"type"`
	Initialized  bool   `json:"initialized"`
	Sealed       bool   `json:"sealed"`
	Threshold    int    `json:"t"`
	Shares       int    `json:"n"`
	Progress     int    `json:"progress"`
	Nonce        string `json:"nonce"`
	Version      string `json:"version"`
	BuildDate    string `json:"build_date"`
	Migration    bool   `json:"migration"`
	ClusterName  string `json:"cluster_name,omitempty"`
	ClusterID    string `json:"cluster_id,omitempty"`
	RecoverySeal bool   `json:"recovery_seal"`
	StorageType  string `json:"storage_type,omitempty"`
	// RecoverySealType is the type of the recovery key, once there is one.
	RecoverySealType string `json:"recovery_seal_type,omitempty"`
	// FormerShares tells that the shares from before the last rekey are still good. It is coffer's own.
	FormerShares bool `json:"former_shares,omitempty"`
	// StorageError is that of Health.
	StorageError string `json:"storage_error,omitempty"`
	// DamagedRecords is that of Health.
	DamagedRecords int `json:"damaged_records,omitempty"`
}

// SealStatus serves `GET sys/seal-status`.
func (c *Core) SealStatus(ctx context.Context, _ Call) (any, error) {
	status, err := c.unseal.Status(ctx)
	if trouble := c.storageError(); err != nil && trouble != "" {
		return nil, engines.Failed("%s", trouble) // it cannot be read either
	}
	if err != nil {
		return nil, err
	}
	answer := SealStatus{
		Type: status.Type, Initialized: status.Initialized, Sealed: true, Threshold: status.T, Shares: status.N,
		Progress: status.Progress, Nonce: status.Nonce,
		Version: c.cfg.Build.Version, BuildDate: c.cfg.Build.Date, StorageType: c.cfg.StorageType,
		Migration: status.Migration, RecoverySeal: status.RecoverySeal, RecoverySealType: status.RecoverySealType,
		FormerShares: status.FormerShares,
		StorageError: c.storageError(), DamagedRecords: c.damagedRecords(),
	}
	if s := c.session.Load(); s != nil {
		answer.Sealed = false
		answer.ClusterName, answer.ClusterID = s.cluster.Name, s.cluster.ID
	}
	return answer, nil
}

// SealBackend is a seal in the answer of `sys/seal-backend-status`.
type SealBackend struct {
	Name    string `json:"name"`
	Healthy bool   `json:"healthy"`
}

// SealBackendStatus is the answer of `sys/seal-backend-status`.
type SealBackendStatus struct {
	Healthy  bool          `json:"healthy"`
	Backends []SealBackend `json:"backends"`
	// FullyWrapped is what Vault says of a Shamir seal, and does not of the other kind.
	FullyWrapped bool `json:"fully_wrapped"`
}

// SealBackendStatus serves `GET sys/seal-backend-status`: whether the seal of the configuration could wrap now.
func (c *Core) SealBackendStatus(ctx context.Context, _ Call) (any, error) {
	healthy := true
	if c.cfg.Seal != nil {
		probe := secret.Random(record.KeySize)
		_, err := c.cfg.Seal.Wrap(ctx, probe)
		healthy = err == nil
	}
	return SealBackendStatus{Healthy: healthy, Backends: []SealBackend{{Name: c.sealType(), Healthy: healthy}},
		FullyWrapped: c.cfg.Seal == nil}, nil
}

// Unseal serves `PUT sys/unseal`: one share, or a reset of those given. Anybody may give a share. Only who sits at the
// machine may reset, because that throws away what others gave; a wrong share is no reason to.
func (c *Core) Unseal(ctx context.Context, call Call) (any, error) {
	if call.Params == nil {
		return nil, errNoBody
	}
	p, err := engines.Decode[struct {
		Key     string `param:"key"`
		Reset   bool   `param:"reset"`
		Migrate bool   `param:"migrate"`
	}](call.Params)
	if err != nil {
		return nil, err
	}
	switch sealed := c.Sealed(); {
	case p.Reset && !sealed:
		return nil, public(ceremony.ErrUnsealed)
	case p.Reset && call.Standing != AtMachine:
		c.journal.limited(call, "unseal reset refused")
		return nil, errNoToken
	case p.Reset:
		c.unseal.Reset()
		c.cfg.scrubLater()
		c.journal.log(call, "unseal reset")
	case !sealed:
		if err := c.checkShare(ctx, p.Key, p.Migrate); err != nil {
			return nil, public(err)
		}
	default:
		if err := c.addShare(ctx, call, p.Key, p.Migrate); err != nil {
			return nil, c.public(err)
		}
		if !c.Sealed() {
			c.cfg.scrubLater()
		}
	}
	return c.SealStatus(ctx, call)
}

// checkShare is what an unsealed server does with a share.
func (c *Core) checkShare(ctx context.Context, share string, migrate bool) error {
	if err := c.unseal.CheckShare(share); err != nil || !migrate {
		return err
	}
	return c.unseal.CheckMigration(ctx)
}

// addShare gives a share to the sealed server, and opens it with the last one.
func (c *Core) addShare(ctx context.Context, call Call, share string, migrate bool) error {
	opening, verdict, err := c.unseal.Add(ctx, share, migrate)
	switch {
	case verdict == ceremony.Unfit:
		c.journal.limited(call, "unseal: a share that does not fit")
	case err != nil:
		c.journal.limited(call, "unseal failed", "error", err)
	case verdict != ceremony.Repeated:
		c.journal.log(call, "unseal: a share that fits", "complete", verdict == ceremony.Complete)
	}
	if err != nil || verdict != ceremony.Complete {
		return err
	}
	defer opening.Zero()
	if err := c.unlock(ctx, opening); err != nil {
		return err
	}
	c.recordUnsealing(ctx, call)
	return nil
}

// recordUnsealing puts the call that opened the server on record: the audit devices are known only now.
func (c *Core) recordUnsealing(ctx context.Context, call Call) {
	s := c.session.Load()
	if s == nil {
		return // sealed again already
	}
	r := s.operation(call)
	err := r.auditRequest(ctx, nil)
	if err == nil {
		err = r.auditResponse(ctx, &engines.Response{Data: map[string]any{"sealed": false}}, nil)
	}
	if err != nil {
		s.logger.Error("no audit device recorded the unsealing", "request_id", call.ID, "error", err)
	}
}

// SealCall serves `PUT sys/seal`. A sealed server stays sealed and asks nobody's leave. Others need a token with
// sudo, whoever they are.
func (c *Core) SealCall(ctx context.Context, call Call) (any, error) {
	s := c.session.Load()
	if s == nil {
		return nil, nil //nolint:nilnil // a 204
	}
	call.Standing = Stranger
	_, err := c.operate(ctx, s, call, "seal", func(ceremony.Caller) (any, error) {
		return nil, nil //nolint:nilnil // it is sealed once that is on record
	})
	if err != nil {
		return nil, err
	}
	err = c.Seal()
	c.cfg.scrubLater()
	return nil, err
}

// scrubAfter is how long after a ceremony memory is scrubbed: when its request is answered, and the connection, with
// the buffers that held keys, is closed.
const scrubAfter = time.Second

// scrubLater overwrites what a ceremony leaves in memory of keys and their shares.
func (c Config) scrubLater() {
	if c.Scrub != nil {
		time.AfterFunc(scrubAfter, c.Scrub)
	}
}

// scrubFor is scrubLater for who may cancel an attempt: it is too dear for everybody.
func (c Config) scrubFor(caller ceremony.Caller) {
	if caller != ceremony.Anonymous {
		c.scrubLater()
	}
}

// StepDown serves `PUT sys/step-down`. A single node has nobody to hand over to, and nothing happens.
func (c *Core) StepDown(ctx context.Context, call Call) (any, error) {
	s := c.session.Load()
	if s == nil {
		return nil, nil //nolint:nilnil // a 204
	}
	return c.operate(ctx, s, call, "step-down", func(ceremony.Caller) (any, error) {
		return nil, nil // a 204
	})
}

// public is the function public with the cause of a missing key, which is not for the client, in the log.
func (c *Core) public(err error) error {
	if errors.Is(err, seal.ErrNoKey) || errors.Is(err, seal.ErrWrongKey) {
		c.cfg.Logger.Error("the key of the seal does not serve", "error", err)
	}
	return public(err)
}

// public gives an error of a ceremony its place in the table of errors.
func public(err error) error {
	var e *ceremony.Error
	switch {
	case errors.Is(err, seal.ErrNotInitialized):
		return engines.Invalid("Vault is not initialized")
	case !errors.As(err, &e):
		return err
	case errors.Is(err, ceremony.ErrInvalid):
		return &engines.Error{Kind: engines.ErrInvalid, Message: e.Message}
	case errors.Is(err, ceremony.ErrDenied):
		return &engines.Error{Kind: engines.ErrDenied, Message: e.Message}
	default:
		return &engines.Error{Kind: engines.ErrFailed, Message: e.Message}
	}
}
