package core

import (
	"context"
	"fmt"
	"slices"

	"coffer/engines"
	"coffer/server/ceremony"
	"coffer/server/mounts"
)

// InitDev makes an empty server usable at once, as `vault server -dev` does: one unseal key, the root token that is
// wanted (a new one when it is zero), and KV at secret/ in that version, 1 or 2, or not at all for 0. It returns the
// unseal key in base64.
func (c *Core) InitDev(
	ctx context.Context, wanted engines.Token, kv int,
) (unsealKey string, root engines.Token, err error) {
	params := ceremony.InitParams{SecretShares: 1, SecretThreshold: 1}
	if c.cfg.Seal != nil {
		params = ceremony.InitParams{RecoveryShares: 1, RecoveryThreshold: 1}
	}
	result, err := c.initialize(ctx, params, wanted)
	if err != nil {
		return "", engines.Token{}, err
	}
	// One of the two lists is empty; a recovery key unseals as well.
	unsealKey = slices.Concat(result.KeysBase64, result.RecoveryKeysBase64)[0]
	if err := c.addShare(ctx, Call{}, unsealKey, false); err != nil {
		return "", engines.Token{}, err
	}
	if kv != 0 {
		err = c.session.Load().mounts.Enable(ctx, mounts.Entry{Kind: mounts.Secret, Path: "secret/",
			Type: fmt.Sprintf("kv-v%d", kv), Description: "key/value secret storage"})
	}
	return unsealKey, engines.NewToken(result.RootToken), err
}
