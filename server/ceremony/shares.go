package ceremony

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
	"coffer/storage"
)

// The lengths of a share that are looked at, in bytes: the smallest AES key, and a share of ours.
const (
	minShare = 16
	maxShare = seal.UnsealKeySize + 1
)

// decodeShare decodes a share as clients send it. Hex counts only when it gives a possible share: most
// hex is base64 as well. The length is checked by checkShare, which comes later in some ceremonies.
func decodeShare(text string) (secret.Key, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) < minShare || len(b) > maxShare {
		if b, err = base64.StdEncoding.DecodeString(text); err != nil {
			return secret.Key{}, invalid("'key' must be a valid hex or base64 string")
		}
	}
	defer clear(b)
	return secret.New(b), nil
}

// checkShare checks a share's length; prefix begins the error's text.
func checkShare(share secret.Key, prefix string) error {
	switch {
	case share.Len() < minShare:
		return invalid("%skey is shorter than minimum %d bytes", prefix, minShare)
	case share.Len() > maxShare:
		return invalid("%skey is longer than maximum %d bytes", prefix, maxShare)
	}
	return nil
}

// shareFor decodes and checks the share in a request that carries nothing else.
func shareFor(text, prefix string) (secret.Key, error) {
	if text == "" {
		return secret.Key{}, invalid("'key' must be specified in request body as JSON")
	}
	share, err := decodeShare(text)
	if err != nil {
		return secret.Key{}, err
	}
	return share, checkShare(share, prefix)
}

// reasonOf returns the Shamir library's text of an error of combine.
func reasonOf(err error) string {
	var shares *seal.SharesError
	if errors.As(err, &shares) {
		return shares.Reason
	}
	return err.Error()
}

// badKeySize returns the text for an unseal key that cannot be a key of AES, or "".
func badKeySize(key secret.Key) string {
	switch key.Len() {
	case 16, 24, 32:
		return ""
	default:
		return fmt.Sprintf("failed to setup unseal key: crypto/aes: invalid key size %d", key.Len())
	}
}

// rootKey returns the root key that the operators' combined key opens: the unseal key, or the recovery key of a
// seal that opens by itself. For a wrong key, wrong is the text of Vault's error and the error is
// seal.ErrWrongKey; sealName is how Vault names a Shamir seal in it.
func rootKey(ctx context.Context, s storage.Storage, k held, operators secret.Key, sealName string) (
	root secret.Key, wrong string, err error,
) {
	if k.config.Type != seal.TypeShamir {
		root, err = k.rootKey(ctx, s, operators)
		return root, wrongRecoveryKey, err
	}
	if wrong = badKeySize(operators); wrong != "" {
		return secret.Key{}, wrong, seal.ErrWrongKey
	}
	root, err = k.rootKey(ctx, s, operators)
	if errors.Is(err, seal.ErrWrongKey) {
		wrong = "failed to decrypt keys from storage: error decrypting seal wrapped value\n" +
			"error decrypting using seal " + sealName + ": cipher: message authentication failed"
	}
	return root, wrong, err
}

// wrongRecoveryKey is what Vault says of a recovery key that is not the stored one.
const wrongRecoveryKey = "recovery key does not match submitted values"

// splitKey returns the shares of a key as clients get them, each encrypted for its PGP key if there are any, and the
// marks of the shares.
func splitKey(
	ctx context.Context, key secret.Key, shares, threshold int, keys []pgpKey,
) (ShareList, *seal.Marks, error) {
	parts, err := seal.Split(key, shares, threshold)
	if err != nil {
		return ShareList{}, nil, err
	}
	marks := seal.NewMarks(parts)
	list, err := newShareList(ctx, parts, keys)
	for _, part := range parts {
		part.Zero()
	}
	return list, marks, err
}
