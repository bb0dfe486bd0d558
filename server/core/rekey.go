package core

import (
	"context"

	"coffer/engines"
	"coffer/server/ceremony"
)

// errInactive is what a sealed server answers about the keys it does not have.
var errInactive = &engines.Error{Kind: engines.ErrSealed, Message: "node is not active"}

func (c *Core) rekey() (*ceremony.Rekey, error) {
	s := c.session.Load()
	if s == nil {
		return nil, errInactive
	}
	return s.rekey, nil
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

// RekeyStatus serves `GET sys/rekey/init`.
func (c *Core) RekeyStatus(ctx context.Context, _ Call) (any, error) {
	rekey, err := c.rekey()
	if err != nil {
		return nil, err
	}
	status, err := rekey.Status(ctx)
	return status, public(err)
}

// RekeyStart serves `PUT sys/rekey/init`.
func (c *Core) RekeyStart(ctx context.Context, call Call) (any, error) {
	rekey, err := c.rekey()
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
	return status, public(err)
}

// RekeyCancel serves `DELETE sys/rekey/init`.
func (c *Core) RekeyCancel(ctx context.Context, call Call) (any, error) {
	rekey, err := c.rekey()
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
	return nil, public(rekey.Cancel(c.caller(ctx, call), p.Nonce))
}

// RekeyUpdate serves `PUT sys/rekey/update`.
func (c *Core) RekeyUpdate(ctx context.Context, call Call) (any, error) {
	rekey, err := c.rekey()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[shareParams](call.Params)
	if err != nil {
		return nil, err
	}
	status, result, err := rekey.Update(ctx, p.Nonce, p.Key)
	if result != nil {
		return result, public(err)
	}
	return status, public(err)
}

// RekeyVerifyStatus serves `GET sys/rekey/verify`.
func (c *Core) RekeyVerifyStatus(context.Context, Call) (any, error) {
	rekey, err := c.rekey()
	if err != nil {
		return nil, err
	}
	status, err := rekey.VerifyStatus()
	return status, public(err)
}

// RekeyVerify serves `PUT sys/rekey/verify`.
func (c *Core) RekeyVerify(ctx context.Context, call Call) (any, error) {
	rekey, err := c.rekey()
	if err != nil {
		return nil, err
	}
	p, err := engines.Decode[shareParams](call.Params)
	if err != nil {
		return nil, err
	}
	status, result, err := rekey.Verify(ctx, p.Nonce, p.Key)
	if result != nil {
		return result, public(err)
	}
	return status, public(err)
}

// RekeyVerifyRestart serves `DELETE sys/rekey/verify`.
func (c *Core) RekeyVerifyRestart(ctx context.Context, call Call) (any, error) {
	rekey, err := c.rekey()
	if err != nil {
		return nil, err
	}
	status, err := rekey.VerifyCancel(c.caller(ctx, call))
	return status, public(err)
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
