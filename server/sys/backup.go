package sys

import (
	"context"
	"errors"

	"coffer/engines"
	"coffer/server/ceremony"
)

// Backups are the encrypted shares that a rekey with backup left.
type Backups interface {
	// Backup returns a *ceremony.Error when there is none.
	Backup(ctx context.Context) (ceremony.RekeyBackup, error)
	DeleteBackup(ctx context.Context) error
}

func (e *engine) backupRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("rekey/backup", "Read or delete the encrypted shares that the last rekey kept.",
			engines.OnRead(e.readBackup), engines.OnDelete(e.deleteBackup)),
		engines.Path("rekey-recovery-key/init", "Recovery keys belong to seals that open by themselves.",
			engines.Unauthenticated(), engines.OnRead(e.noRecovery)),
	}
}

func (e *engine) readBackup(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	backup, err := e.Backups.Backup(ctx)
	var refused *ceremony.Error
	if errors.As(err, &refused) {
		return nil, engines.Invalid("%s", refused.Message)
	}
	if err != nil {
		return nil, err
	}
	return flat(map[string]any{"keys": backup.Keys, "keys_base64": backup.KeysBase64, "nonce": backup.Nonce})
}

func (e *engine) deleteBackup(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if err := e.Backups.DeleteBackup(ctx); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) noRecovery(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.Invalid("recovery rekeying not supported")
}
