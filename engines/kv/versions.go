package kv

import (
	"context"

	"coffer/engines"
	"coffer/storage"
)

type versionsParams struct {
	Path     string `path:"path" help:"Name of the secret."`
	Versions []int  `param:"versions" help:"Numbers of the versions."`
}

func (e *versioned) deleteVersions(
	ctx context.Context, req *engines.Request, p versionsParams,
) (*engines.Response, error) {
	if err := checkVersions(p, "No version number provided"); err != nil {
		return nil, err
	}
	by := attributionOf(req, opUpdate)
	return e.change(ctx, p.Path, func(ctx context.Context, c *change) (bool, error) {
		named, err := c.named(ctx, p.Versions)
		if err != nil {
			return false, err
		}
		now := e.now()
		for _, v := range named {
			if !v.gone(now) {
				v.Deletion, v.DeletedBy = now, by
			}
		}
		c.entry.UpdatedBy = by
		return true, nil
	})
}

// undelete shows versions again. Where versions end by themselves their life begins anew.
func (e *versioned) undelete(ctx context.Context, req *engines.Request, p versionsParams) (*engines.Response, error) {
	if err := checkVersions(p, "No version number provided"); err != nil {
		return nil, err
	}
	cfg, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	return e.change(ctx, p.Path, func(ctx context.Context, c *change) (bool, error) {
		named, err := c.named(ctx, p.Versions)
		if err != nil {
			return false, err
		}
		now := e.now()
		for _, v := range named {
			if !v.Destroyed {
				v.Deletion, v.DeletedBy = cfg.deletion(c.entry, now), attribution{}
			}
		}
		c.entry.UpdatedBy = attributionOf(req, opUndelete)
		return true, nil
	})
}

// destroy removes data in the commit that says so. It leaves no trace of who did it, as in Vault.
func (e *versioned) destroy(ctx context.Context, _ *engines.Request, p versionsParams) (*engines.Response, error) {
	if err := checkVersions(p, "no version number provided"); err != nil {
		return nil, err
	}
	return e.change(ctx, p.Path, func(ctx context.Context, c *change) (bool, error) {
		named, err := c.named(ctx, p.Versions)
		if err != nil {
			return false, err
		}
		changed := false
		for n, v := range named {
			if !v.Destroyed {
				v.Destroyed, changed = true, true
				c.removeData(n, v)
			}
		}
		return changed, nil
	})
}

func checkVersions(p versionsParams, missing string) error {
	if err := checkWrite(p.Path); err != nil {
		return err
	}
	if len(p.Versions) == 0 {
		return engines.Invalid("%s", missing)
	}
	return nil
}

// named returns the versions of these numbers that there are.
func (c *change) named(ctx context.Context, numbers []int) (map[uint64]*version, error) {
	pages := min(len(numbers), int(c.entry.Paged/pageVersions)+1) //nolint:gosec // at most maxVersions
	if err := storage.Spend(ctx, pages*sizeOfPage); err != nil {
		return nil, err
	}
	found := make(map[uint64]*version)
	for _, number := range numbers {
		if number <= 0 {
			continue
		}
		v, err := c.version(ctx, uint64(number))
		if err != nil {
			return nil, err
		}
		if v != nil {
			found[uint64(number)] = v
		}
	}
	return found, nil
}
