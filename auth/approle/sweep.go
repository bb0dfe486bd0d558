package approle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// sweepEvery is how often expired secret ids are removed. They are worthless before that.
const sweepEvery = time.Minute

// sweepUntil removes what has expired until the mount ends.
func (e *engine) sweepUntil(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		e.sweep(ctx, false)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-e.kick:
		}
	}
}

// wake makes the sweeper run soon.
func (e *engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// sweep looks at what can have expired; with thorough set at the present hour too.
func (e *engine) sweep(ctx context.Context, thorough bool) {
	ctx = storage.LeaveOut(ctx)
	removed, err := e.sweepHours(ctx, thorough)
	gone, goneErr := e.sweepGone(ctx)
	if err = errors.Join(err, goneErr); err != nil && ctx.Err() == nil {
		e.log.Error("expired secret ids could not be removed", "error", err)
	}
	if removed+gone > 0 {
		e.log.Info("secret ids removed", "expired", removed, "of_deleted_roles", gone)
	}
}

// sweepHours removes the secret ids whose hour has come, a page at a time.
func (e *engine) sweepHours(ctx context.Context, thorough bool) (removed int, err error) {
	hours, err := e.storage.List(ctx, expiryFolder, "", 0)
	if err != nil {
		return 0, err
	}
	present := hour(e.now()) + "/"
	for _, h := range hours {
		if h > present || (h == present && !thorough) {
			break
		}
		n, err := e.each(ctx, expiryFolder+h, func(name string) ([]storage.Op, error) {
			folder, err := e.storage.Get(ctx, expiryFolder+h+name)
			if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrDamaged) {
				return nil, nil // what cannot be read keeps no others
			}
			if err != nil {
				return nil, err
			}
			at := place{string(folder), name}
			s, err := e.stored(ctx, at)
			switch {
			case errors.Is(err, errNoSecretID):
				return []storage.Op{storage.Delete(expiryFolder + h + name)}, nil
			case errors.Is(err, storage.ErrDamaged):
				return nil, nil
			case err != nil:
				return nil, err
			case !s.expired(e.now()):
				return nil, nil
			}
			return e.removing(at, s), nil
		})
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// sweepGone removes the secret ids of roles that were deleted.
func (e *engine) sweepGone(ctx context.Context) (removed int, err error) {
	folders, err := e.storage.List(ctx, goneFolder, "", 0)
	if err != nil {
		return 0, err
	}
	for _, folder := range folders {
		n, err := e.each(ctx, secretFolder+folder+"/", func(name string) ([]storage.Op, error) {
			at := place{folder, name}
			s, err := e.stored(ctx, at)
			if errors.Is(err, errNoSecretID) || errors.Is(err, storage.ErrDamaged) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return e.removing(at, s), nil
		})
		removed += n
		if err != nil {
			return removed, err
		}
		if err := e.storage.Apply(ctx, storage.Delete(goneFolder+folder)); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// each asks for the changes that remove each name in a folder, and commits them page by page. Nobody changes a
// secret id meanwhile. It counts the names for which there were changes.
func (e *engine) each(
	ctx context.Context, folder string, remove func(name string) ([]storage.Op, error),
) (removed int, err error) {
	for mark := ""; ; {
		names, next, err := storage.Page(ctx, e.storage, folder, mark, page)
		if err != nil {
			return removed, err
		}
		n, err := e.removePage(ctx, names, remove)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("%s: %w", strings.TrimSuffix(folder, "/"), err)
		}
		if next == "" {
			return removed, nil
		}
		mark = next
	}
}

func (e *engine) removePage(
	ctx context.Context, names []string, remove func(name string) ([]storage.Op, error),
) (removed int, err error) {
	e.sweeping.Lock()
	defer e.sweeping.Unlock()
	var batch []storage.Op
	for _, name := range names {
		ops, err := remove(name)
		if err != nil {
			return 0, err
		}
		if len(ops) > 0 {
			removed++
		}
		batch = append(batch, ops...)
	}
	if len(batch) == 0 {
		return 0, nil
	}
	return removed, e.storage.Apply(ctx, batch...)
}

// tidy removes what has expired in the background of the mount.
func (e *engine) tidy(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	if !e.tidying.CompareAndSwap(false, true) {
		return &engines.Response{Warnings: []string{"Tidy operation already in progress."}}, nil
	}
	e.background(func(ctx context.Context) {
		defer e.tidying.Store(false)
		e.sweep(ctx, true)
	})
	return &engines.Response{Status: 202, NoMountType: true, Warnings: []string{"Tidy operation successfully started. " +
		"Any information from the operation will be printed to Vault's server logs."}}, nil
}
