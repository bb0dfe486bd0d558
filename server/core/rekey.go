package core

import (
	"context"

	"coffer/engines"
	"coffer/server/ceremony"
)

// errInactive is what a sealed server answers about the keys it does not have.
var errInactive = &engines.Error{Kind: engines.ErrSealed, Message: "node is not active"}

// Rekey serves the calls that replace keys, below sys/rekey or sys/rekey-recovery-key.
type Rekey struct {
	core     *Core
	recovery bool
}

// Rekey returns what serves sys/rekey.
func (c *Core) Rekey() Rekey { return Rekey{core: c} }

// RekeyRecovery returns what serves sys/rekey-recovery-key.
func (c *Core) RekeyRecovery() Rekey { return Rekey{core: c, recovery: true} }

// ceremony returns the session's ceremony.
func (r Rekey) ceremony() (*ceremony.Rekey, error) {
	s := r.core.session.Load()
	switch {
	case s == nil:
		return nil, errInactive
	case !r.recovery:
		return s.rekey, nil
	default:
		return s.rekeyRecovery, nil
	}
}

// supported is ceremony with Vault's refusal where there is no recovery key.
func (r Rekey) supported() (*ceremony.Rekey, error) {
	c, err := r.ceremony()
	if err != nil {
		return nil, err
	}
	return c, public(c.Supported())
}

// shareParams are the parameters of every call that gives a share.
type shareParams struct {
	Key   string `param:"key"`
	Nonce string `param:"nonce"`
}

// caller tells whether the holder of the call's token may do what the path does; without a good token he
// is anonymous.
func (c *Core) caller(ctx context.Context, call Call) ceremony.Caller {
	if call.Token.IsZero() || c.authorized(ctx, call) != nil {
		return ceremony.Anonymous
	}
	return ceremony.Privileged
}

// Status serves `GET sys/rekey/init`.
func (r Rekey) Status(ctx context.Context, _ Call) (any, error) {
	rekey, err := r.supported()
	if err != nil {
		return nil, err
	}
	status, err := rekey.Status(ctx)
	return status, r.core.public(err)
}

// Start serves `PUT sys/rekey/init`.
func (r Rekey) Start(ctx context.Context, call Call) (any, error) {
	rekey, err := r.supported()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[struct {
		Shares    int      `param:"secret_shares"`
		Threshold int      `param:"secret_threshold"`
		PGPKeys   []string `param:"pgp_keys"`
		Backup    bool     `param:"backup"`
		Verify    bool     `param:"require_verification"`
	}](call.Params)
	if err != nil {
		return nil, err
	}
	status, err := rekey.Start(ctx, ceremony.RekeyParams{SecretShares: p.Shares, SecretThreshold: p.Threshold,
		PGPKeys: p.PGPKeys, Backup: p.Backup, RequireVerification: p.Verify})
	return status, r.core.public(err)
}

// Cancel serves `DELETE sys/rekey/init`.
func (r Rekey) Cancel(ctx context.Context, call Call) (any, error) {
	rekey, err := r.supported()
	if err != nil {
		return nil, err
	}
	if call.Params == nil {
		return nil, errNoBody
	}
	p, err := engines.Decode[shareParams](call.Params)
	if err != nil {
		return nil, err
	}
	return nil, public(rekey.Cancel(r.core.caller(ctx, call), p.Nonce))
}

// Update serves `PUT sys/rekey/update`.
func (r Rekey) Update(ctx context.Context, call Call) (any, error) {
	rekey, err := r.ceremony()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[shareParams](call.Params)
	if err != nil {
		return nil, err
	}
	status, result, err := rekey.Update(ctx, p.Nonce, p.Key)
	if result != nil {
		return result, r.core.public(err)
	}
	return status, r.core.public(err)
}

// VerifyStatus serves `GET sys/rekey/verify`.
func (r Rekey) VerifyStatus(context.Context, Call) (any, error) {
	rekey, err := r.supported()
	if err != nil {
		return nil, err
	}
	status, err := rekey.VerifyStatus()
	return status, r.core.public(err)
}

// Verify serves `PUT sys/rekey/verify`.
func (r Rekey) Verify(ctx context.Context, call Call) (any, error) {
	rekey, err := r.supported()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[shareParams](call.Params)
	if err != nil {
		return nil, err
	}
	status, result, err := rekey.Verify(ctx, p.Nonce, p.Key)
	if result != nil {
		return result, r.core.public(err)
	}
	return status, r.core.public(err)
}

// VerifyRestart serves `DELETE sys/rekey/verify`.
func (r Rekey) VerifyRestart(ctx context.Context, call Call) (any, error) {
	rekey, err := r.supported()
	if err != nil {
		return nil, err
	}
	status, err := rekey.VerifyCancel(r.core.caller(ctx, call))
	return status, r.core.public(err)
}

func (c *Core) generateRoot() (*ceremony.GenerateRoot, error) {
	s := c.session.Load()
	if s == nil {
		return nil, engines.ErrSealed
	}
	return s.generateRoot, nil
}

// GenerateRootStatus serves `GET sys/generate-root/attempt`.
func (c *Core) GenerateRootStatus(ctx context.Context, _ Call) (any, error) {
	generate, err := c.generateRoot()
	if err != nil {
		return nil, err
	}
	status, err := generate.Status(ctx)
	return status, public(err)
}

// GenerateRootStart serves `PUT sys/generate-root/attempt`.
func (c *Core) GenerateRootStart(ctx context.Context, call Call) (any, error) {
	generate, err := c.generateRoot()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[struct {
		OTP    string `param:"otp"`
		PGPKey string `param:"pgp_key"`
	}](call.Params)
	if err != nil {
		return nil, err
	}
	status, err := generate.Start(ctx, p.OTP, p.PGPKey)
	return status, public(err)
}

// GenerateRootCancel serves `DELETE sys/generate-root/attempt`.
func (c *Core) GenerateRootCancel(ctx context.Context, call Call) (any, error) {
	generate, err := c.generateRoot()
	if err != nil {
		return nil, err
	}
	return nil, public(generate.Cancel(c.caller(ctx, call)))
}

// GenerateRootUpdate serves `PUT sys/generate-root/update`.
func (c *Core) GenerateRootUpdate(ctx context.Context, call Call) (any, error) {
	generate, err := c.generateRoot()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[shareParams](call.Params)
	if err != nil {
		return nil, err
	}
	status, err := generate.Update(ctx, p.Nonce, p.Key)
	return status, public(err)
}
