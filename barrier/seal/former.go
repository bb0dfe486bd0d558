package seal

import (
	"context"

	"coffer/barrier/secret"
)

// formerPlace keeps the root key under a former key from being taken for another record.
const formerPlace = ConfigPath + "/former"

// Former is a key of the operators that a rekey replaced. It opens the new root key as well, until somebody used a
// share of the new key: then the new shares have reached their owners.
type Former struct {
	Shares    int    `json:"shares"`
	Threshold int    `json:"threshold"`
	Marks     *Marks `json:"marks,omitempty"`
	// RootKey is the root key under the former key.
	RootKey []byte `json:"root_key"`
}

// NewFormer keeps operators, the key that c is about, good for the root key root.
func NewFormer(ctx context.Context, c Config, root, operators secret.Key) (*Former, error) {
	wrapped, err := newFormer(operators).Wrap(ctx, root)
	if err != nil {
		return nil, err
	}
	return &Former{Shares: c.Shares, Threshold: c.Threshold, Marks: c.Marks, RootKey: wrapped}, nil
}

func newFormer(operators secret.Key) *Shamir { return &Shamir{key: operators, place: formerPlace} }

// Unwrap returns the root key by the former key, or ErrWrongKey or ErrCorrupt.
func (f *Former) Unwrap(ctx context.Context, operators secret.Key) (secret.Key, error) {
	return newFormer(operators).Unwrap(ctx, append([]byte{}, f.RootKey...))
}

// Config is the configuration with the former key in the place of the present one. It is about no further key.
func (f *Former) Config(sealType string) Config {
	return Config{Type: sealType, Shares: f.Shares, Threshold: f.Threshold, Marks: f.Marks}
}
