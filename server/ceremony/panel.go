package ceremony

import (
	"context"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// held is a key that operators hold in shares: the present one, or the one that a rekey replaced while that is still
// good.
type held struct {
	// config is about this key and no other.
	config seal.Config
	// former is nil for the present key.
	former *seal.Former
}

// rootKey returns the root key that the combined shares open, or the errors of seal.RootKeyWith.
func (k held) rootKey(ctx context.Context, s storage.Storage, operators secret.Key) (secret.Key, error) {
	if k.former != nil {
		return k.former.Unwrap(ctx, operators)
	}
	return seal.RootKeyWith(ctx, s, k.config, operators)
}

// settle settles what is pending once a share of the key was used, and tells settled when a former key has ended.
func (k held) settle(ctx context.Context, s storage.Storage, c seal.Config, settled func()) error {
	if k.former != nil || c.Marks == nil || (c.Former == nil && !c.Unclaimed) {
		return nil
	}
	ended, err := Settle(ctx, s)
	if ended && err == nil && settled != nil {
		settled()
	}
	return err
}

// panel is the shares given so far in one attempt: those of the present key, and those of the former one.
type panel struct {
	present, former quorum
}

// add takes a share. It returns the key that the share may be of, and the shares that were given of that one. What fits
// neither key counts for the present one.
func (p *panel) add(share secret.Key, c seal.Config) (held, *quorum, Verdict) {
	if c.Former == nil {
		p.former.clear()
	} else if !c.Marks.Fit(share) && c.Former.Marks.Fit(share) {
		former := c.Former.Config(c.Type)
		return held{former, c.Former}, &p.former, p.former.add(share, former.Marks)
	}
	present := seal.Config{Type: c.Type, Shares: c.Shares, Threshold: c.Threshold, Marks: c.Marks}
	return held{config: present}, &p.present, p.present.add(share, c.Marks)
}

// progress tells how many shares were given of the key that more were given of, and how many of how many it takes.
func (p *panel) progress(c seal.Config) (given, threshold, shares int) {
	if c.Former != nil && p.former.progress() > p.present.progress() {
		return p.former.progress(), c.Former.Threshold, c.Former.Shares
	}
	return p.present.progress(), c.Threshold, c.Shares
}

func (p *panel) empty() bool { return p.present.progress()+p.former.progress() == 0 }

func (p *panel) clear() {
	p.present.clear()
	p.former.clear()
}
