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
	var routes []engines.Route
	for path, kept := range map[string]backups{
		"rekey/backup": {e.Backups}, "rekey/recovery-key-backup": {e.RecoveryBackups},
	} {
		routes = append(routes, engines.Path(path, "Read or delete the encrypted shares that the last rekey kept.",
			engines.OnRead(kept.read), engines.OnDelete(kept.remove)))
	}
	return routes
}

// backups serves what one of the rekey ceremonies kept.
type backups struct{ Backups }

func (b backups) read(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	backup, err := b.Backup(ctx)
	var refused *ceremony.Error
	if errors.As(err, &refused) {
		return nil, engines.Invalid("%s", refused.Message)
	}
	if err != nil {
		return nil, err
	}
	return flat(map[string]any{"keys": backup.Keys, "keys_base64": backup.KeysBase64, "nonce": backup.Nonce})
}

func (b backups) remove(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if err := b.DeleteBackup(ctx); err != nil {
		return nil, err
	}
	return done()
}
