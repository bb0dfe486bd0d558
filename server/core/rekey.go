package core

import (
	"context"

	"coffer/engines"
	"coffer/server/ceremony"
)

// errInactive is what a sealed server answers about the keys it does not have.
var errInactive = &engines.Error{Kind: engines.ErrSealed, Message: "node is not active"}

// The names of the ceremonies in the log.
const (
	rekeyName         = "rekey"
	recoveryRekeyName = "rekey of the recovery key"
	generateRootName  = "generate-root"
)

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
func (r Rekey) ceremony(s *session) *ceremony.Rekey {
	if r.recovery {
		return s.rekeyRecovery
	}
	return s.rekey
}

// status returns the session and its ceremony, for a read. It refuses where there is no recovery key.
func (r Rekey) status() (*session, *ceremony.Rekey, error) {
	s := r.core.session.Load()
	if s == nil {
		return nil, nil, errInactive
	}
	c := r.ceremony(s)
	return s, c, public(c.Supported())
}

// rekeyCall serves one call of the ceremony.
type rekeyCall func(*ceremony.Rekey, ceremony.Caller) (any, error)

// operate serves a call that takes part in the ceremony.
func (r Rekey) operate(ctx context.Context, call Call, action string, serve rekeyCall) (any, error) {
	s, name := r.core.session.Load(), rekeyName
	if s == nil {
		return nil, errInactive
	}
	if r.recovery {
		name = recoveryRekeyName
	}
	return r.core.operate(ctx, s, call, name+" "+action, func(caller ceremony.Caller) (any, error) {
		answer, err := serve(r.ceremony(s), caller)
		return answer, r.core.public(err)
	})
}

// supported is serve with Vault's refusal where there is no recovery key.
func supported(serve rekeyCall) rekeyCall {
	return func(c *ceremony.Rekey, caller ceremony.Caller) (any, error) {
		if err := c.Supported(); err != nil {
			return nil, err
		}
		return serve(c, caller)
	}
}

// shareParams are the parameters of every call that gives a share.
type shareParams struct {
	Key   string `param:"key"`
	Nonce string `param:"nonce"`
}

// Status serves `GET sys/rekey/init`. Strangers are not told the nonces.
func (r Rekey) Status(ctx context.Context, call Call) (any, error) {
	s, rekey, err := r.status()
	if err != nil {
		return nil, err
	}
	status, err := rekey.Status(ctx)
	if status.Started && !s.mayKnow(ctx, call) {
		status.Nonce, status.VerificationNonce = "", ""
	}
	return status, r.core.public(err)
}

// Start serves `PUT sys/rekey/init`.
func (r Rekey) Start(ctx context.Context, call Call) (any, error) {
	return r.operate(ctx, call, "start", supported(func(rekey *ceremony.Rekey, _ ceremony.Caller) (any, error) {
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
		return rekey.Start(ctx, ceremony.RekeyParams{SecretShares: p.Shares, SecretThreshold: p.Threshold,
			PGPKeys: p.PGPKeys, Backup: p.Backup, RequireVerification: p.Verify})
	}))
}

// Cancel serves `DELETE sys/rekey/init`.
func (r Rekey) Cancel(ctx context.Context, call Call) (any, error) {
	return r.operate(ctx, call, "cancel", supported(func(rekey *ceremony.Rekey, caller ceremony.Caller) (any, error) {
		if call.Params == nil {
			return nil, errNoBody
		}
		p, err := engines.Decode[shareParams](call.Params)
		if err != nil {
			return nil, err
		}
		r.core.cfg.scrubFor(caller)
		return nil, rekey.Cancel(caller, p.Nonce)
	}))
}

// Update serves `PUT sys/rekey/update`.
func (r Rekey) Update(ctx context.Context, call Call) (any, error) {
	return r.operate(ctx, call, "share", func(rekey *ceremony.Rekey, _ ceremony.Caller) (any, error) {
		p, err := engines.Decode[shareParams](call.Params)
		if err != nil {
			return nil, err
		}
		status, result, err := rekey.Update(ctx, p.Nonce, p.Key)
		if result != nil {
			return result, err
		}
		return status, err
	})
}

// VerifyStatus serves `GET sys/rekey/verify`. Strangers are not told the nonce.
func (r Rekey) VerifyStatus(ctx context.Context, call Call) (any, error) {
	s, rekey, err := r.status()
	if err != nil {
		return nil, err
	}
	status, err := rekey.VerifyStatus()
	if status.Started && !s.mayKnow(ctx, call) {
		status.Nonce = ""
	}
	return status, r.core.public(err)
}

// Verify serves `PUT sys/rekey/verify`.
func (r Rekey) Verify(ctx context.Context, call Call) (any, error) {
	serve := func(rekey *ceremony.Rekey, _ ceremony.Caller) (any, error) {
		p, err := engines.Decode[shareParams](call.Params)
		if err != nil {
			return nil, err
		}
		status, result, err := rekey.Verify(ctx, p.Nonce, p.Key)
		if result != nil {
			return result, err
		}
		return status, err
	}
	return r.operate(ctx, call, "verification share", supported(serve))
}

// VerifyRestart serves `DELETE sys/rekey/verify`.
func (r Rekey) VerifyRestart(ctx context.Context, call Call) (any, error) {
	return r.operate(ctx, call, "verification restart",
		supported(func(rekey *ceremony.Rekey, caller ceremony.Caller) (any, error) {
			r.core.cfg.scrubFor(caller)
			return rekey.VerifyCancel(caller)
		}))
}

// Former serves `GET sys/rekey/former`: whether the shares from before the last rekey are still good. It is coffer's
// own.
func (r Rekey) Former(ctx context.Context, _ Call) (any, error) {
	s := r.core.session.Load()
	if s == nil {
		return nil, errInactive
	}
	status, err := s.rekey.Status(ctx)
	return map[string]bool{"former_shares": status.FormerShares}, r.core.public(err)
}

// EndFormer serves `DELETE sys/rekey/former`: those shares are good no more. It is coffer's own.
func (r Rekey) EndFormer(ctx context.Context, call Call) (any, error) {
	return r.operate(ctx, call, "end of the former shares", func(rekey *ceremony.Rekey, c ceremony.Caller) (any, error) {
		return nil, rekey.EndFormer(ctx, c)
	})
}

// operateGenerateRoot serves a call that takes part in generate-root.
func (c *Core) operateGenerateRoot(
	ctx context.Context, call Call, action string, serve func(*ceremony.GenerateRoot, ceremony.Caller) (any, error),
) (any, error) {
	s := c.session.Load()
	if s == nil {
		return nil, engines.ErrSealed
	}
	return c.operate(ctx, s, call, generateRootName+" "+action, func(caller ceremony.Caller) (any, error) {
		answer, err := serve(s.generateRoot, caller)
		return answer, public(err)
	})
}

// GenerateRootStatus serves `GET sys/generate-root/attempt`. Strangers are not told the nonce.
func (c *Core) GenerateRootStatus(ctx context.Context, call Call) (any, error) {
	s := c.session.Load()
	if s == nil {
		return nil, engines.ErrSealed
	}
	status, err := s.generateRoot.Status(ctx)
	if status.Started && !s.mayKnow(ctx, call) {
		status.Nonce = ""
	}
	return status, public(err)
}

// GenerateRootStart serves `PUT sys/generate-root/attempt`.
func (c *Core) GenerateRootStart(ctx context.Context, call Call) (any, error) {
	return c.operateGenerateRoot(ctx, call, "start", func(g *ceremony.GenerateRoot, _ ceremony.Caller) (any, error) {
		p, err := engines.Decode[struct {
			OTP    string `param:"otp"`
			PGPKey string `param:"pgp_key"`
		}](call.Params)
		if err != nil {
			return nil, err
		}
		return g.Start(ctx, p.OTP, p.PGPKey)
	})
}

// GenerateRootCancel serves `DELETE sys/generate-root/attempt`.
func (c *Core) GenerateRootCancel(ctx context.Context, call Call) (any, error) {
	return c.operateGenerateRoot(ctx, call, "cancel", func(g *ceremony.GenerateRoot, caller ceremony.Caller) (any, error) {
		c.cfg.scrubFor(caller)
		return nil, g.Cancel(caller)
	})
}

// GenerateRootUpdate serves `PUT sys/generate-root/update`.
func (c *Core) GenerateRootUpdate(ctx context.Context, call Call) (any, error) {
	return c.operateGenerateRoot(ctx, call, "share", func(g *ceremony.GenerateRoot, _ ceremony.Caller) (any, error) {
		p, err := engines.Decode[shareParams](call.Params)
		if err != nil {
			return nil, err
		}
		return g.Update(ctx, p.Nonce, p.Key)
	})
}
