package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// Bounds of one commit of the upgrade.
const (
	upgradeSecrets = 256
	upgradeBytes   = 4 << 20
)

// upgradeRetry is how long the upgrade waits after storage failed.
const upgradeRetry = time.Second

// startUpgrade makes versioned secrets of what version 1 left behind. There is no mark of how far it came:
// a secret is moved in one commit, so what is still below plainPrefix is what is left to do. The first
// commit is made at once; when there is more, the rest follows in the background.
func (e *versioned) startUpgrade(ctx context.Context, cfg engines.Config) error {
	logger := cfg.Logger
	u := &upgrade{storage: e.storage, now: e.now, logger: logger}
	err := u.step(ctx)
	if err == nil {
		return nil
	}
	if !errors.Is(err, errMore) {
		return err
	}
	logger.Info("upgrading secrets to version 2")
	e.upgrading.Store(true)
	cfg.Background(func(ctx context.Context) {
		if u.run(ctx) {
			logger.Info("upgraded secrets to version 2")
			e.upgrading.Store(false)
		}
	})
	return nil
}

// errMore is returned by a step that left something to do.
var errMore = errors.New("kv: not all secrets are upgraded yet")

type upgrade struct {
	storage storage.Storage
	now     func() time.Time
	logger  *slog.Logger

	batch   []storage.Op
	secrets int
	bytes   int
}

// run makes steps until all is done, which it reports, or ctx ends.
func (u *upgrade) run(ctx context.Context) bool {
	for {
		err := u.step(ctx)
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, errMore):
			continue
		}
		u.logger.Error("cannot upgrade secrets to version 2, will try again", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(upgradeRetry):
		}
	}
}

// step commits as many secrets as fit into one batch. It returns errMore when that was not all.
func (u *upgrade) step(ctx context.Context) error {
	u.batch, u.secrets, u.bytes = nil, 0, 0
	walked := u.folder(ctx, "")
	if walked != nil && !errors.Is(walked, errMore) {
		return walked
	}
	if len(u.batch) > 0 {
		if err := u.storage.Apply(ctx, u.batch...); err != nil {
			return err
		}
	}
	return walked
}

// folder adds the secrets below path to the batch. It returns errMore when the batch is full.
func (u *upgrade) folder(ctx context.Context, path string) error {
	for mark := ""; ; {
		names, next, err := storage.Page(ctx, u.storage, plainPrefix+path, mark, upgradeSecrets)
		if err != nil {
			return err
		}
		for _, name := range names {
			if u.secrets >= upgradeSecrets || u.bytes >= upgradeBytes {
				return errMore
			}
			if name[len(name)-1] == '/' {
				err = u.folder(ctx, path+name)
			} else {
				err = u.secret(ctx, path+name)
			}
			if err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		mark = next
	}
}

// secret adds one secret to the batch. One that cannot be read stays where it is.
func (u *upgrade) secret(ctx context.Context, name string) error {
	raw, err := u.storage.Get(ctx, plainPrefix+name)
	if err != nil {
		return fmt.Errorf("cannot read a secret of version 1: %w", err)
	}
	data, err := upgraded(raw)
	if err != nil {
		u.logger.Error("a secret of version 1 is damaged and was left as it is", "name", name)
		return nil //nolint:nilerr // the others must not wait for it
	}
	now := u.now()
	by := attribution{Operation: opUpgrade, actor: actor{Name: "kv_upgrade"}}
	c := &change{storage: u.storage, name: name, entry: &entry{Created: now}}
	if err := c.addVersion(ctx, data, version{Created: now, CreatedBy: by}, 1); err != nil {
		return err
	}
	c.entry.Oldest = 1
	u.batch = append(u.batch, c.batch...)
	u.batch = append(u.batch, storage.Put(entryPrefix+name, c.entry.encode()), storage.Delete(plainPrefix+name))
	u.secrets++
	u.bytes += len(data)
	return nil
}

// upgraded is the data of version 2 for a record of version 1.
func upgraded(raw []byte) ([]byte, error) {
	object, err := decodeObject(raw)
	if err != nil {
		return nil, err
	}
	if object == nil {
		return nil, errRecord
	}
	return appendObject(make([]byte, 0, len(raw)+16), object)
}
