package core

import (
	"context"
	"strings"

	"coffer/barrier"
)

// guardRevision is that of guardScope. It rises whenever guardScope covers other keys than before.
const guardRevision = 1

// guardScope says of which records an older value, put back into the storage, must not be served: those that decide
// who may do what, and that few requests write. What every request may write (secrets, tokens, leases, secret ids,
// lockouts) is left out: its writers would have to take turns.
func (s *session) guardScope() barrier.Scope {
	return barrier.Scope{
		Revision: guardRevision,
		Within: []string{
			"core/",       // the mount table, audit devices, the cluster's name
			"sys/policy/", // policies
			"sys/settings",
			"sys/token/keys",
			"sys/token/roles/",
			"sys/token/endless/", // marks of the tokens without an end
			"sys/token/endless-known",
			s.builtinFolder(identityPath), // entities, groups, second factors, keys of identity tokens
			"auth/",                       // configurations, roles, users, groups, revocation lists
		},
		Except: unguarded,
	}
}

// unguarded tells which keys within guardScope are written too often.
func unguarded(key string) bool {
	if strings.HasPrefix(key, "core/lockout/") {
		return true
	}
	at, found := strings.CutPrefix(key, "auth/")
	if !found {
		return false
	}
	_, name, _ := strings.Cut(at, "/")
	folder, _, _ := strings.Cut(name, "/")
	switch folder {
	case "secret", "accessor", "expires", "gone": // secret ids of AppRole
		return true
	default:
		return false
	}
}

// guard lets the barrier tell older records from those stored last.
func (s *session) guard(ctx context.Context) error {
	upgraded, err := s.barrier.Guard(ctx, s.guardScope())
	if upgraded && err == nil {
		s.logger.Info("data of an earlier version: its records are taken as they are; " +
			"from now on older ones put back are refused")
	}
	return err
}
