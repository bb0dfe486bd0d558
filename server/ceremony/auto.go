package ceremony

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// Opening is what opens a server: by its seal, or by enough shares.
type Opening struct {
	// Root is the root key, which the caller zeroes.
	Root secret.Key
	// Changes are what the seal's records become, in one commit, once Root opened the barrier; none when
	// they stay. Commit applies them, with seal.RootKeyPath as witness.
	Changes []storage.Op
	// Migration tells that an operator asked for the changes. Without them the server is not to open. Other
	// changes can wait for the next time.
	Migration bool
	// Shares tells whose shares opened it.
	Shares Shares
	// Undone is why changes that should be made, and can wait, cannot be made now.
	Undone error
}

// Shares are the shares that open a server.
type Shares int

// Shares.
const (
	// NoShares is for a seal that opened by itself.
	NoShares Shares = iota
	// PresentShares are those of the key in use. Settle is due when they were used.
	PresentShares
	// FormerShares are those from before the last rekey.
	FormerShares
)

// Zero forgets the root key.
func (o Opening) Zero() { o.Root.Zero() }

// typeOf names the seal of a configuration in which nil stands for Shamir's.
func typeOf(auto seal.Auto) string {
	if auto == nil {
		return seal.TypeShamir
	}
	return auto.Type()
}

// Auto opens the server with the seal that opens by itself. It returns seal.ErrNotInitialized, ErrNoAuto
// where that seal is not the one of the data, and the errors of seal.RootKey, which name the key that the data
// wants. Nothing is written.
func (u *Unseal) Auto(ctx context.Context) (Opening, error) {
	config, err := seal.ReadConfig(ctx, u.storage)
	if err != nil {
		return Opening{}, err
	}
	if u.auto == nil || config.Type != u.auto.Type() {
		return Opening{}, fmt.Errorf("%w: the data is under %q, the configuration has %q",
			ErrNoAuto, config.Type, typeOf(u.auto))
	}
	root, err := seal.RootKey(ctx, u.storage, u.auto)
	if err != nil {
		return Opening{}, err
	}
	// An error is about the new key. The old one opened the data all the same.
	changes, err := seal.Renewal(ctx, u.storage, u.auto, root)
	return Opening{Root: root, Changes: changes, Undone: err}, nil
}

// ErrNoAuto is returned by Auto when the data is not under the seal of the configuration.
var ErrNoAuto = errors.New("ceremony: the seal of the configuration is not the one of the data; " +
	"unseal with -migrate to move to it")

// migration returns the changes that put the root key under the seal of the configuration. operators is the
// combined key of the shares.
func (u *Unseal) migration(ctx context.Context, c seal.Config, root, operators secret.Key) ([]storage.Op, error) {
	changes, err := seal.RecordsWith(ctx, u.auto, c, root, operators)
	return changes, unavailable(err)
}

// unavailable words the lack of a seal's key for the client. The log has the cause.
func unavailable(err error) error {
	if errors.Is(err, seal.ErrNoKey) {
		return errors.Join(failed("the key of the seal is not available; nothing was changed"), err)
	}
	return err
}

// Commit applies a batch that has a Put of the key witness with a value that was never there before. When the
// storage reports a failure but has that value, the batch was written, and what it did must count: the keys
// must be handed out, or nobody will ever open what is stored. While the outcome is open, Commit waits for it, ten
// seconds at most.
func Commit(ctx context.Context, s storage.Storage, witness string, batch []storage.Op) error {
	err := s.Apply(ctx, batch...)
	if err == nil || storage.Refused(err) {
		return err
	}
	for _, op := range batch {
		if op.Key != witness {
			continue
		}
		if got, getErr := outcome(ctx, s, op.Key); getErr == nil && bytes.Equal(got, op.Value) {
			return nil
		}
	}
	return err
}

const (
	// outcomePatience is how long a ceremony waits for the outcome of its commit.
	outcomePatience = 10 * time.Second
	// outcomePause is how long it waits between two looks.
	outcomePause = 20 * time.Millisecond
)

// outcome is Get for a value whose commit may still be open.
func outcome(ctx context.Context, s storage.Storage, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, outcomePatience)
	defer cancel()
	for {
		got, err := s.Get(ctx, key)
		if !errors.Is(err, storage.ErrUnsettled) {
			return got, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(outcomePause):
		}
	}
}
