package ceremony

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"coffer/storage"
)

// Where encrypted shares are kept, in the storage below the barrier.
const (
	backupPath         = "core/unseal-keys-backup"
	recoveryBackupPath = "core/recovery-keys-backup"
)

func (r *Rekey) backupPath() string {
	if r.recovery {
		return recoveryBackupPath
	}
	return backupPath
}

// RekeyBackup is the answer of Vault's sys/rekey/backup: the encrypted shares by the fingerprint of the
// key that they are encrypted for.
type RekeyBackup struct {
	Nonce      string              `json:"nonce"`
	Keys       map[string][]string `json:"keys"`
	KeysBase64 map[string][]string `json:"keys_base64"`
}

func (r *Rekey) backupOp(nonce string, list ShareList, keys []pgpKey) (storage.Op, error) {
	b := RekeyBackup{Nonce: nonce, Keys: map[string][]string{}, KeysBase64: map[string][]string{}}
	for i, key := range keys {
		id := key.fingerprint()
		b.Keys[id] = append(b.Keys[id], list.Keys[i])
		b.KeysBase64[id] = append(b.KeysBase64[id], list.KeysBase64[i])
	}
	data, err := json.Marshal(b)
	if err != nil {
		return storage.Op{}, fmt.Errorf("ceremony: encode the backup: %w", err)
	}
	return storage.Put(r.backupPath(), data), nil
}

// Backup returns the shares that the last rekey with Backup made, or an ErrInvalid when there are none.
func (r *Rekey) Backup(ctx context.Context) (RekeyBackup, error) {
	data, err := r.storage.Get(ctx, r.backupPath())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return RekeyBackup{}, invalid("no backed-up keys found")
	case err != nil:
		return RekeyBackup{}, fmt.Errorf("ceremony: read %s: %w", r.backupPath(), err)
	}
	return decodeBackup(data, r.backupPath())
}

func decodeBackup(data []byte, path string) (RekeyBackup, error) {
	var b RekeyBackup
	if err := json.Unmarshal(data, &b); err != nil {
		return RekeyBackup{}, fmt.Errorf("ceremony: %s is damaged: %w", path, err)
	}
	return b, nil
}

// DeleteBackup removes the backup, if there is one.
func (r *Rekey) DeleteBackup(ctx context.Context) error {
	if err := r.storage.Apply(ctx, storage.Delete(r.backupPath())); err != nil {
		return fmt.Errorf("ceremony: delete %s: %w", r.backupPath(), err)
	}
	return nil
}
