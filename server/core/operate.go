package core

import (
	"context"
	"errors"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/engines"
	"coffer/server/ceremony"
)

// errNoBody is Vault's answer where it wants a body and gets none.
var errNoBody = engines.Invalid("EOF")

// Init serves `PUT sys/init`: it makes the barrier, its keys and the root token in one commit. The server
// stays sealed.
func (c *Core) Init(ctx context.Context, call Call) (any, error) {
	if call.Params == nil {
		return nil, errNoBody
	}
	p, err := engines.Decode[initParams](call.Params)
	if err != nil {
		return nil, err
	}
	return c.initialize(ctx, p.ceremony(), engines.Token{})
}

type initParams struct {
	SecretShares      int      `param:"secret_shares"`
	SecretThreshold   int      `param:"secret_threshold"`
	PGPKeys           []string `param:"pgp_keys"`
	RootTokenPGPKey   string   `param:"root_token_pgp_key"`
	RecoveryShares    int      `param:"recovery_shares"`
	RecoveryThreshold int      `param:"recovery_threshold"`
	RecoveryPGPKeys   []string `param:"recovery_pgp_keys"`
}

func (p initParams) ceremony() ceremony.InitParams {
	return ceremony.InitParams{
		SecretShares: p.SecretShares, SecretThreshold: p.SecretThreshold, PGPKeys: p.PGPKeys,
		RootTokenPGPKey: p.RootTokenPGPKey, RecoveryShares: p.RecoveryShares,
		RecoveryThreshold: p.RecoveryThreshold, RecoveryPGPKeys: p.RecoveryPGPKeys,
	}
}

// initialize initialises the store; the root token is a new one unless wanted is set.
func (c *Core) initialize(
	ctx context.Context, p ceremony.InitParams, wanted engines.Token,
) (ceremony.InitResult, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	result, err := ceremony.Init(ctx, c.cfg.Storage, p, func(ctx context.Context, draft *barrier.Barrier) (string, error) {
		s, err := newSession(ctx, c.cfg, draft)
		if err != nil {
			return "", err
		}
		defer s.stop()
		if !wanted.IsZero() {
			return wanted.Reveal(), s.tokens.CreateRootAs(ctx, wanted)
		}
		token, err := s.tokens.CreateRoot(ctx)
		return token.Reveal(), err
	})
	if err == nil {
		c.cfg.Logger.Info("initialized", "shares", p.SecretShares, "threshold", p.SecretThreshold)
	}
	return result, public(err)
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
}

// SealStatus serves `GET sys/seal-status`.
func (c *Core) SealStatus(ctx context.Context, _ Call) (any, error) {
	status, err := c.unseal.Status(ctx)
	if err != nil {
		return nil, err
	}
	answer := SealStatus{
		Type: status.Type, Initialized: status.Initialized, Sealed: true, Threshold: status.T, Shares: status.N,
		Progress: status.Progress, Nonce: status.Nonce,
		Version: c.cfg.Build.Version, BuildDate: c.cfg.Build.Date, StorageType: c.cfg.StorageType,
	}
	if s := c.session.Load(); s != nil {
		answer.Sealed = false
		answer.ClusterName, answer.ClusterID = s.cluster.Name, s.cluster.ID
	}
	return answer, nil
}

// Unseal serves `PUT sys/unseal`: one share, or a reset of those given.
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
	case p.Reset:
		c.unseal.Reset()
	case p.Migrate:
		return nil, engines.Failed("can't perform a seal migration, no migration seal found")
	case !sealed:
		if err := c.unseal.CheckShare(p.Key); err != nil {
			return nil, public(err)
		}
	default:
		if err := c.addShare(ctx, p.Key); err != nil {
			return nil, public(err)
		}
	}
	return c.SealStatus(ctx, call)
}

func (c *Core) addShare(ctx context.Context, share string) error {
	root, complete, err := c.unseal.Add(ctx, share)
	if err != nil || !complete {
		return err
	}
	defer root.Zero()
	return c.unlock(ctx, root)
}

// SealCall serves `PUT sys/seal`. A sealed server stays sealed and asks nobody's leave.
func (c *Core) SealCall(ctx context.Context, call Call) (any, error) {
	if c.Sealed() {
		return nil, nil //nolint:nilnil // a 204
	}
	if err := c.authorized(ctx, call); err != nil {
		return nil, err
	}
	return nil, c.Seal()
}

// StepDown serves `PUT sys/step-down`. A single node has nobody to hand over to, and nothing happens.
func (c *Core) StepDown(context.Context, Call) (any, error) {
	return nil, nil //nolint:nilnil // a 204
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
