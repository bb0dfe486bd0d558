package core

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"coffer/auth/token"
	"coffer/barrier"
	"coffer/engines"
	"coffer/server/audit"
	"coffer/server/ceremony"
	"coffer/server/damage"
	"coffer/server/identity"
	"coffer/server/identity/oidc"
	"coffer/server/inflight"
	"coffer/server/leases"
	"coffer/server/lockout"
	"coffer/server/mfa"
	"coffer/server/mounts"
	"coffer/server/passwords"
	"coffer/server/policies"
	"coffer/server/sys"
	"coffer/server/workers"
	"coffer/server/wrapping"
)

// session is everything that exists only while the server is unsealed.
type session struct {
	cfg     Config
	logger  *slog.Logger
	barrier *barrier.Barrier
	damage  *damage.Register
	cluster cluster

	mounts    *mounts.Table
	tokens    *token.Store
	leases    *leases.Manager
	lockouts  *lockout.Keeper
	policies  *policies.Store
	passwords *passwords.Store
	identity  *identity.Store
	mfa       *mfa.Store
	oidc      *oidc.Store
	wrapping  *wrapping.Service
	audit     *audit.Broker
	settings  *sys.Settings
	flights   *inflight.Board

	rekey         *ceremony.Rekey
	rekeyRecovery *ceremony.Rekey
	generateRoot  *ceremony.GenerateRoot

	// checking is set while everything stored is being read.
	checking atomic.Bool
	// unclaimed is set while nobody has used a token of the server since it was initialised.
	unclaimed atomic.Bool

	// operators are the calls of ceremonies.
	operators workers.Gate
	// ctx ends when the session does; workers counts what runs in it.
	ctx     context.Context //nolint:containedctx // the session's life is what it is
	cancel  context.CancelFunc
	workers workers.Group
}

// now is the server's time, by which tokens and leases end; wall is what the machine's clock says.
func (s *session) now() time.Time  { return s.cfg.clock.Now() }
func (s *session) wall() time.Time { return s.cfg.clock.Wall() }

// newSession builds the session over an open barrier, which stays the caller's. Nothing runs until start.
func newSession(ctx context.Context, cfg Config, flights *inflight.Board, b *barrier.Barrier) (*session, error) {
	s := &session{cfg: cfg, logger: cfg.Logger, barrier: b, flights: flights}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.build(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *session) build(ctx context.Context) (err error) {
	s.damage = damage.New(s.logger, s.wall, s.describe)
	s.barrier.Watch(s.damage)
	if err = s.cfg.clock.Load(ctx, s.barrier, s.cfg.TrustClock); err != nil {
		return err
	}
	s.barrier.UseClock(s.now)
	if err = s.loadCluster(ctx); err != nil {
		return err
	}
	if err = s.guard(ctx); err != nil {
		return err
	}
	if s.policies, err = policies.New(ctx, s.barrier, s.wall); err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	running := sys.VersionRecord{Version: s.cfg.Build.Version, BuildDate: s.cfg.Build.Date, Installed: s.wall()}
	s.passwords = passwords.New(s.barrier)
	if s.settings, err = sys.OpenSettings(ctx, s.barrier, running); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	s.mounts = mounts.New(s.ctx, mounts.Config{
		Storage: s.barrier, Logger: s.logger, Now: s.now, Wall: s.wall, Types: s.cfg.Types,
		DefaultTTL: s.cfg.DefaultLeaseTTL, MaxTTL: s.cfg.MaxLeaseTTL, Unmounted: s.unmounted,
		Background: s.work,
		Passwords:  s.passwords,
	})
	s.audit = audit.New(audit.Config{Storage: s.barrier, Logger: s.logger, Headers: s.settings})
	if err = s.audit.Load(ctx); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	s.leases = leases.New(leases.Config{
		Storage: s.cfg.clock.Storage(s.barrier), Now: s.now, Logger: s.logger, TrustClock: s.cfg.TrustClock,
	})
	if err = s.leases.LoadRevocations(ctx); err != nil {
		return err
	}
	if err = s.buildIdentity(ctx); err != nil {
		return err
	}
	if err = s.buildTokens(ctx); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	if s.lockouts, err = lockout.New(ctx, s.barrier, s.now); err != nil {
		return err
	}
	s.wrapping = wrapping.New(wrapping.Config{Tokens: s.tokens, Now: s.now})
	s.rekey = ceremony.NewRekey(s.barrier.Below(), s.barrier, s.cfg.Seal)
	s.rekeyRecovery = s.rekey.Recovery()
	s.generateRoot = ceremony.NewGenerateRoot(s.barrier.Below(), s.barrier, s.tokens.MintRoot)
	s.rekey.Expired = expired(s.cfg, rekeyName)
	s.rekeyRecovery.Expired = expired(s.cfg, recoveryRekeyName)
	s.generateRoot.Expired = expired(s.cfg, generateRootName)
	s.rekey.Settled, s.rekeyRecovery.Settled, s.generateRoot.Settled = s.formerEnded, s.formerEnded, s.formerEnded
	if err = s.mountBuiltins(); err != nil {
		return err
	}
	return s.mounts.Load(ctx)
}

func (s *session) newSys() engines.Engine {
	cfg := sys.Config{
		Mounts: s.mounts, Policies: s.policies, Passwords: s.passwords, ACLs: acls{s}, Leases: s.leases, Wrapping: s.wrapping,
		Lockouts: s.lockouts, SecondFactors: secondFactors{s},
		Keys: s.barrier, Audit: s.audit, Settings: s.settings, InFlight: flying{s}, Damaged: damaged{s},
		Backups: s.rekey, RecoveryBackups: s.rekeyRecovery,
		Node: sys.Node{
			Version: s.cfg.Build.Version, APIAddress: s.cfg.APIAddress, ClusterAddress: s.cfg.ClusterAddress,
			Sanitized: s.cfg.Sanitized, LogLevel: s.cfg.LogLevel.Level(),
		},
		LogLevel: s.cfg.LogLevel, LogLines: s.cfg.LogLines, Now: s.now, Wall: s.wall, Session: s.ctx,
	}
	if s.cfg.RawStorage {
		cfg.Raw = s.barrier
	}
	return sys.New(cfg)
}

func (s *session) buildTokens(ctx context.Context) (err error) {
	s.tokens, err = token.NewStore(ctx, token.Config{
		Storage: s.cfg.clock.Storage(s.barrier), Leases: s.leases, Policies: s.policies, Sudo: acls{s}, Methods: methods{s},
		Logger: s.logger, Now: s.now, Ended: s.cfg.clock.Acted, CubbyholePrefix: s.builtinFolder(cubbyholePath),
		Background: s.work, Identity: s.identity,
	})
	return err
}

// unmounted revokes what a mount issued at a path that it leaves.
func (s *session) unmounted(ctx context.Context, path string, wait bool) error {
	if !wait {
		return s.leases.RevokePrefixLater(ctx, path)
	}
	return s.leases.RevokePrefix(ctx, path)
}

// start begins the work in the background.
func (s *session) start() {
	s.cfg.clock.OnJump(s.leases.Wake)
	s.leases.Start(s.ctx, s.tokens, leased{s.mounts})
	s.tokens.FinishRevocations()
	s.work(s.mounts.FinishRemovals)
	s.work(s.rotateKeys)
	s.work(s.keepTime)
}

// work runs f beside the caller until it returns or the session ends. A request may come with it after the end: then
// nobody waits for f, which sees that its context has ended.
func (s *session) work(f func(context.Context)) {
	run := func() { f(s.ctx) }
	if !s.workers.Go(run) {
		go run()
	}
}

// rotateEvery is how often the barrier's key is looked at for automatic rotation.
const rotateEvery = time.Minute

// rotateKeys keeps the barrier's key younger than its limits (NIST SP 800-38D, section 8.3).
func (s *session) rotateKeys(ctx context.Context) {
	ticker := time.NewTicker(rotateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if rotated, err := s.barrier.MaybeRotate(ctx); err != nil {
				s.logger.Error("automatic rotation of the barrier key failed", "error", err)
			} else if rotated {
				s.logger.Info("barrier key rotated")
			}
		}
	}
}

// stopPatience is how long the end of a session waits for requests that were told to come to an end.
const stopPatience = 30 * time.Second

// stop ends what requests and workers do in the session, and waits for them.
func (s *session) stop() {
	s.interrupt(nil)
}

// interrupt is stop that tells the requests in the session to come to an end.
func (s *session) interrupt(requests func()) {
	late := false
	select {
	case <-s.operators.Close():
	case <-time.After(stopPatience):
		late = true
	}
	s.cancel()
	if s.mounts != nil && !s.mounts.End(requests, stopPatience) || late {
		s.logger.Error("a request does not end; the server is sealed beside it", "waited", stopPatience.String())
	}
	s.workers.Wait()
	if s.generateRoot != nil {
		s.rekey.Close()
		s.rekeyRecovery.Close()
		s.generateRoot.Close()
	}
	if s.leases != nil {
		s.leases.Wait()
	}
	if s.audit != nil {
		s.audit.Close()
	}
}
