package sys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// Settings are what clients set below sys/config/ for other parts of the server to obey, and the history
// of versions. They are kept in one record; reading them takes no lock. It is safe for concurrent use.
type Settings struct {
	store   storage.Storage
	current atomic.Pointer[settings]
	// changing serialises changes.
	changing sync.Mutex
}

// settings are one state of Settings; never changed in place.
type settings struct {
	CORS CORS `json:"cors"`
	// AuditHeaders are the request headers that audit entries show, in lower case, and whether hashed.
	AuditHeaders map[string]bool `json:"audit_headers"`
	// UIHeaders are the headers of the web interface's answers, in canonical form.
	UIHeaders http.Header     `json:"ui_headers,omitempty"`
	Versions  []VersionRecord `json:"versions"`
}

// CORS says which web pages of other origins may call the API.
type CORS struct {
	Enabled bool `json:"enabled"`
	// Origins are the permitted ones, or "*" alone for all.
	Origins []string `json:"origins,omitempty"`
	// Headers are permitted besides DefaultCORSHeaders.
	Headers []string `json:"headers,omitempty"`
}

// VersionRecord tells when a version first ran on this data.
type VersionRecord struct {
	Version   string    `json:"version"`
	BuildDate string    `json:"build_date"`
	Installed time.Time `json:"installed"`
}

// settingsKey is the record's key behind the barrier.
const settingsKey = "sys/settings"

// DefaultCORSHeaders returns the request headers that web pages may always send.
func DefaultCORSHeaders() []string {
	return []string{
		"Content-Type", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-MFA",
		"X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format", "X-Vault-Wrap-TTL", "X-Vault-Policy-Override",
		"Authorization", "X-Vault-Token",
	}
}

// OpenSettings reads the settings from store, the barrier from its root, and records the running version
// when it is new. Settings that cannot be read are those that show the least; they are not replaced until somebody
// changes one.
func OpenSettings(ctx context.Context, store storage.Storage, running VersionRecord) (*Settings, error) {
	s := &Settings{store: store}
	state := settings{AuditHeaders: map[string]bool{
		"correlation-id": false, "x-correlation-id": false, "user-agent": false,
	}}
	running.Installed = running.Installed.UTC().Truncate(time.Second)
	record, err := store.Get(ctx, settingsKey)
	if err == nil {
		if state, err = decodeSettings(record); err != nil {
			storage.SetAside(store, settingsKey, err)
		}
	}
	switch {
	case errors.Is(err, storage.ErrDamaged):
		state = settings{Versions: []VersionRecord{running}}
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return nil, fmt.Errorf("sys: read %s: %w", settingsKey, err)
	}
	s.current.Store(&state)
	known := slices.ContainsFunc(state.Versions, func(v VersionRecord) bool { return v.Version == running.Version })
	if known {
		return s, nil
	}
	return s, s.change(ctx, func(next *settings) error {
		next.Versions = append(slices.Clip(next.Versions), running)
		return nil
	})
}

func decodeSettings(record []byte) (settings, error) {
	var state settings
	if err := json.Unmarshal(record, &state); err != nil {
		return settings{}, fmt.Errorf("sys: decode %s: %w: %w", settingsKey, storage.ErrDamaged, err)
	}
	return state, nil
}

// change stores what edit makes of a copy of the settings. edit replaces maps and lists; it does not
// change them in place.
func (s *Settings) change(ctx context.Context, edit func(*settings) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	next := *s.current.Load()
	if err := edit(&next); err != nil {
		return err
	}
	record, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := s.store.Apply(ctx, storage.Put(settingsKey, record)); err != nil {
		return fmt.Errorf("sys: write %s: %w", settingsKey, err)
	}
	s.current.Store(&next)
	return nil
}

// CORS returns the settings of cross-origin requests. Its lists must not be changed.
func (s *Settings) CORS() CORS { return s.current.Load().CORS }

// AuditHeaders returns the request headers that audit entries show, by their lower-case names, and
// whether their values are hashed. The map must not be changed.
func (s *Settings) AuditHeaders() map[string]bool { return s.current.Load().AuditHeaders }

// UIHeaders returns the headers that the web interface's answers carry. They must not be changed.
func (s *Settings) UIHeaders() http.Header { return s.current.Load().UIHeaders }

// Versions returns the versions that ran on this data, the oldest first. The list must not be changed.
func (s *Settings) Versions() []VersionRecord { return s.current.Load().Versions }

func (s *Settings) setCORS(ctx context.Context, cors CORS) error {
	return s.change(ctx, func(next *settings) error { next.CORS = cors; return nil })
}

// SecretHeader reports whether a request header carries a secret by its name, which is in lower case: the token, other
// means to log in, codes of a second factor, cookies. Audit entries never show its values.
func SecretHeader(name string) bool {
	return slices.ContainsFunc([]string{
		"token", "authorization", "cookie", "secret", "password", "credential", "api-key", "apikey", "assertion", "jwt",
		"-mfa", "-otp",
	}, func(part string) bool { return strings.Contains(name, part) })
}

// setAuditHeader adds a header, or removes it when hashed is nil.
func (s *Settings) setAuditHeader(ctx context.Context, name string, hashed *bool) error {
	name = engines.FoldASCII(name)
	return s.change(ctx, func(next *settings) error {
		next.AuditHeaders = maps.Clone(next.AuditHeaders)
		if hashed == nil {
			delete(next.AuditHeaders, name)
			return nil
		}
		if next.AuditHeaders == nil {
			next.AuditHeaders = make(map[string]bool)
		}
		if _, known := next.AuditHeaders[name]; !known && len(next.AuditHeaders) >= maxHeaders {
			return errTooManyHeaders
		}
		next.AuditHeaders[name] = *hashed
		return nil
	})
}

// setUIHeader sets a header, or removes it when there are no values.
func (s *Settings) setUIHeader(ctx context.Context, name string, values []string) error {
	name = http.CanonicalHeaderKey(name)
	return s.change(ctx, func(next *settings) error {
		next.UIHeaders = next.UIHeaders.Clone()
		if len(values) == 0 {
			delete(next.UIHeaders, name)
			return nil
		}
		if next.UIHeaders == nil {
			next.UIHeaders = make(http.Header)
		}
		if _, known := next.UIHeaders[name]; !known && len(next.UIHeaders) >= maxHeaders {
			return errTooManyHeaders
		}
		next.UIHeaders[name] = values
		return nil
	})
}
