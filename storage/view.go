package storage

import (
	"context"
	"strings"
)

// View is a part of a Storage: all keys below a prefix, named without it. An engine sees nothing else.
type View struct {
	base   Storage
	prefix string
}

// NewView returns the view of base below prefix, which is a legal key followed by "/" (CheckPrefix).
// With any other prefix every call of the view returns ErrInvalidKey or works on all of base (prefix "").
func NewView(base Storage, prefix string) *View {
	return &View{base: base, prefix: prefix}
}

// Prefix is the folder of the underlying storage that the view shows, ending in "/".
func (v *View) Prefix() string { return v.prefix }

// Get implements Storage.
func (v *View) Get(ctx context.Context, key string) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return v.base.Get(ctx, v.prefix+key)
}

// List implements Storage.
func (v *View) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, err
	}
	return v.base.List(ctx, v.prefix+prefix, after, limit)
}

// Page implements Pager.
func (v *View) Page(ctx context.Context, prefix, mark string, limit int) (names []string, next string, err error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, "", err
	}
	return Page(ctx, v.base, v.prefix+prefix, mark, limit)
}

// Report implements Reporter.
func (v *View) Report(d Damage) {
	if r, ok := v.base.(Reporter); ok {
		d.Key = v.prefix + d.Key
		r.Report(d)
	}
}

// Discard implements Discarder.
func (v *View) Discard(ctx context.Context, folder string) error {
	if err := CheckPrefix(folder); err != nil {
		return err
	}
	return discard(ctx, v.base, v.prefix+folder)
}

// Apply implements Storage.
func (v *View) Apply(ctx context.Context, batch ...Op) error {
	moved := make([]Op, len(batch))
	for i, op := range batch {
		if err := CheckKey(op.Key); err != nil {
			return err
		}
		op.Key = v.prefix + op.Key
		moved[i] = op
	}
	return v.base.Apply(ctx, moved...)
}

// CheckKey returns ErrInvalidKey when key is not a legal key of a Storage.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKeySize || key[0] == '/' || key[len(key)-1] == '/' || strings.Contains(key, "//") {
		return ErrInvalidKey
	}
	return nil
}

// CheckPrefix returns ErrInvalidKey when prefix is neither empty nor a legal key followed by "/".
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	name, isFolder := strings.CutSuffix(prefix, "/")
	if !isFolder {
		return ErrInvalidKey
	}
	return CheckKey(name)
}
