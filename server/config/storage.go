package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrVaultData is returned by CheckDataFolder.
var ErrVaultData = errors.New("the folder holds data of HashiCorp Vault, which coffer cannot read; " +
	"choose an empty folder, or move Vault's files away")

const supportedStorage = `coffer supports "bolt", "file" and "inmem"`

func decodeStorage(top *scope, dst *Storage) {
	if all := top.labelled("ha_storage"); len(all) > 0 {
		top.fail("ha_storage", "is not supported; remove it, one node needs no coordination")
	}
	if all := top.labelled("ha_backend"); len(all) > 0 {
		top.fail("ha_backend", "is not supported; remove it, one node needs no coordination")
	}
	// "backend" is the old name of "storage", which wins.
	stanzas := top.labelled("storage")
	if old := top.labelled("backend"); len(stanzas) == 0 {
		stanzas = old
	}
	for i, s := range stanzas {
		if i > 0 && s.pos.File == stanzas[i-1].pos.File {
			s.report.fail(s.pos, s.path, "only one storage stanza is possible")
			return
		}
	}
	if len(stanzas) > 0 {
		decodeStanza(stanzas[len(stanzas)-1], dst)
	}
}

func decodeStanza(s *scope, dst *Storage) {
	dst.Label = s.label
	switch s.label {
	case "bolt", "file":
		dst.Kind = StorageBolt
		s.str("path", &dst.Path)
		if dst.Path == "" {
			s.fail("path", "required: the folder in which coffer keeps %s", DataFile)
		} else if err := CheckDataFolder(dst.Path); err != nil {
			s.fail("path", "%s: %v", dst.Path, err)
		}
	case "inmem":
		dst.Kind = StorageMemory
		s.ignore("max_value_size")
	default:
		s.report.fail(s.pos, s.path, "unsupported storage; %s", supportedStorage)
		return
	}
	s.ignore("advertise_addr", "api_addr", "cluster_addr", "disable_clustering", "ha_enabled", "max_entry_size",
		"redirect_addr")
	s.finish()
}

// CheckDataFolder returns ErrVaultData when path holds what Vault's file or raft storage writes, and an
// error when path is something other than a folder. A folder that does not exist is fine.
func CheckDataFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("expected a folder")
	}
	// Integrated storage: the state machine, and the folder of the log.
	for _, name := range []string{"vault.db", filepath.Join("raft", "raft.db"), filepath.Join("raft", "snapshots")} {
		if _, err := os.Lstat(filepath.Join(path, name)); err == nil {
			return ErrVaultData
		}
	}
	// File storage: one folder for each path component, and files whose names start with "_".
	for _, name := range []string{"core", "sys", "logical", "auth"} {
		found, err := holdsVaultFiles(filepath.Join(path, name))
		if err != nil {
			return err
		}
		if found {
			return ErrVaultData
		}
	}
	return nil
}

// holdsVaultFiles looks two folders deep: logical/<uuid>/_casesensitivity and the like are the shallowest.
func holdsVaultFiles(folder string) (bool, error) {
	for _, pattern := range []string{"_*", "*/_*", "*/*/_*"} {
		matches, err := filepath.Glob(filepath.Join(escapeGlob(folder), pattern))
		if err != nil {
			return false, fmt.Errorf("looking for Vault's files: %w", err)
		}
		if len(matches) > 0 {
			return true, nil
		}
	}
	return false, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
