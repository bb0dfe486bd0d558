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

// foreignKeys are keys of Vault's other storages. They stay behind when somebody changes the name of the stanza alone.
func foreignKeys() []string {
	return []string{
		// Integrated storage.
		"node_id", "performance_multiplier", "trailing_logs", "snapshot_threshold", "snapshot_interval", "retry_join",
		"retry_join_as_non_voter", "non_voter", "autopilot_reconcile_interval", "autopilot_update_interval",
		"autopilot_upgrade_version", "autopilot_redundancy_zone", "raft_log_verifier_enabled",
		"raft_log_verification_interval", "raft_wal", "max_mount_and_namespace_table_entry_size", "max_transaction_size",
		"initial_mmap_size", "freelist_type", "log_store",
		// Consul, and what others have in common with it.
		"address", "check_timeout", "consistency_mode", "max_parallel", "scheme", "service", "service_tags",
		"service_address", "disable_registration", "token", "session_ttl", "lock_wait_time", "tls_ca_file",
		"tls_cert_file", "tls_key_file", "tls_min_version", "tls_skip_verify", "datacenter",
		// Databases and clouds.
		"connection_url", "table", "ha_table", "max_idle_connections", "max_connect_retries", "username", "password",
		"database", "plaintext_connection_allowed", "plaintext_credentials_transmission", "max_connection_lifetime",
		"etcd_api", "lock_timeout", "request_timeout", "sync", "bucket", "region", "endpoint", "access_key", "secret_key",
		"session_token", "s3_force_path_style", "disable_ssl", "kms_key_id", "accountname", "accountkey", "container",
		"chunk_size", "hosts", "keyspace",
	}
}

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
		decodeDataFolder(s, dst)
		for _, key := range foreignKeys() {
			if entries := s.takeAll(key); len(entries) > 0 {
				s.report.warn(entries[0].pos, s.name(key), "belongs to another storage of Vault and has no effect here; remove it")
			}
		}
	case "inmem":
		dst.Kind = StorageMemory
		s.ignore("max_value_size")
	case "raft":
		s.report.fail(s.pos, s.path, `unsupported storage; %s. One node needs no raft: write storage "file" `+
			`{ path = "…" } with a folder that does not hold Vault's data`, supportedStorage)
		return
	default:
		s.report.fail(s.pos, s.path, `unsupported storage; %s. All data is in one file: write storage "file" `+
			`{ path = "/var/lib/coffer" }`, supportedStorage)
		return
	}
	s.ignore("advertise_addr", "api_addr", "cluster_addr", "disable_clustering", "ha_enabled", "max_entry_size",
		"redirect_addr")
	s.finish()
}

// decodeDataFolder reads the folder of the data file.
func decodeDataFolder(s *scope, dst *Storage) {
	s.filePath("path", &dst.Path)
	dst.Place = Place{s.place("path"), s.name("path")}
	if dst.Path == "" {
		if !s.said("path") {
			s.fail("path", "required: the folder in which coffer keeps %s, such as \"/var/lib/coffer\"", DataFile)
		}
		return
	}
	info, err := os.Stat(dst.Path)
	isFolder := err == nil && info.IsDir()
	switch {
	case isFolder || filepath.Base(dst.Path) != DataFile && err != nil:
		if err := CheckDataFolder(dst.Path); err != nil {
			s.fail("path", "%s: %v", dst.Path, Explain(err))
		}
	default:
		s.fail("path", "expected a folder, not the file in it; write path = %q", filepath.Dir(dst.Path))
	}
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
