// Package config turns the server's configuration into one validated Config.
//
// The files are HCL or JSON in Vault's own dialect, so a configuration that was written for Vault works
// here. What Vault knows and coffer has no use for is accepted with a Warning; what neither knows is an
// Error. Both name the file, the line and the key.
package config

import (
	"crypto/tls"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"coffer/barrier/secret"
)

// Defaults, each as Vault's.
const (
	// DefaultListenAddress is where a listener without an address serves.
	DefaultListenAddress = "127.0.0.1:8200"
	// DefaultLeaseTTL is the life of a lease that names none, and the longest life of any lease.
	DefaultLeaseTTL = 768 * time.Hour
	// DefaultMaxRequestSize is the largest request body, in bytes.
	DefaultMaxRequestSize = 32 << 20
	// DefaultMetricsPrefix is the first part of metric names.
	DefaultMetricsPrefix = "vault"
	// DefaultMaxRequestDuration is how long a request may take before it is cancelled.
	DefaultMaxRequestDuration = 90 * time.Second
)

// Config is a whole, valid configuration. Paths are as written: relative ones start at the working
// directory of the process.
type Config struct {
	// Listeners has at least one element.
	Listeners []Listener
	Storage   Storage
	Seal      Seal
	Cluster   Cluster
	Log       Log
	Leases    Leases
	Telemetry Telemetry
	// Audit are the audit devices that the configuration declares.
	Audit []AuditDevice
	// UserLockouts holds the stanzas as written, keyed by auth method type; "all" is the fallback.
	UserLockouts map[string]LockoutStanza
	// PIDFile is where the process writes its id, or "".
	PIDFile string
	// UI turns the web page on.
	UI bool
	// DisableMlock keeps the server from locking its memory.
	DisableMlock bool
	// RawStorageEndpoint serves sys/raw.
	RawStorageEndpoint bool
	// DisableUserLockout turns the lockout off, or on, for all methods whatever else says (VAULT_DISABLE_USER_LOCKOUT);
	// nil for neither.
	DisableUserLockout *bool
}

// Storage says where the server keeps its data.
type Storage struct {
	Kind StorageKind
	// Label is the stanza's, which clients see: "bolt", "file" or "inmem".
	Label string
	// Path is the data folder; "" for StorageMemory.
	Path string
	// Place is where the configuration names the path.
	Place Place
}

// Place is where a setting stands, for what turns out to be wrong with it only when it is used.
type Place struct {
	Position
	Key string
}

// Error is err as a mistake of the configuration at this place. It matches ErrInvalid and err.
func (p Place) Error(err error) error {
	return &Error{Position: p.Position, Key: p.Key, Reason: err.Error(), Err: err}
}

// AuditDevice is an audit device that the configuration declares. It cannot be changed through the API.
type AuditDevice struct {
	Place Place
	// Path names the device, without the "/" at its end.
	Path, Type, Description string
	Options                 map[string]string
}

// StorageKind is an implementation of storage.Storage.
type StorageKind string

// The kinds of storage. The stanzas "bolt" and "file" both mean StorageBolt.
const (
	StorageBolt   StorageKind = "bolt"
	StorageMemory StorageKind = "inmem"
)

// DataFile is the name of the one file that StorageBolt keeps in its folder.
const DataFile = "coffer.db"

// File is the path of the bbolt file; "" for StorageMemory.
func (s Storage) File() string {
	if s.Path == "" {
		return ""
	}
	return filepath.Join(s.Path, DataFile)
}

// Seal says what protects the root key.
type Seal struct {
	// Type is the seal's kind, "shamir" when the configuration has no seal stanza.
	Type string
	// Current and Previous are the keys of the static seal. Current wraps; Previous, whose ID is "" when
	// there is none, only unwraps.
	Current, Previous SealKey
}

// SealKey is a key of the static seal: its name, and where it is.
type SealKey struct {
	ID string
	// Place is where the configuration has the key.
	Place Place
	// File is the path of a file with the key; Env is the name of a variable with the key; else Inline is the
	// key itself.
	File, Env string
	Inline    secret.Key
}

// Cluster is how this node is reached by clients and by other nodes.
type Cluster struct {
	// Name is the cluster's name; "" lets the server choose one at initialisation.
	Name string
	// APIAddr is the URL that clients are sent to, without a trailing slash, or "".
	APIAddr string
	// ClusterAddr is the https URL that other nodes use, or "".
	ClusterAddr string
}

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "standard"
	LogJSON LogFormat = "json"
)

// Log says what is logged, how and where.
type Log struct {
	Level  slog.Level
	Format LogFormat
	// File receives the log besides standard error, or "". A path that ends in a separator is a folder.
	File string
}

// Leases bounds the life of tokens and secrets, both above 0 and DefaultTTL <= MaxTTL.
type Leases struct {
	DefaultTTL time.Duration
	MaxTTL     time.Duration
}

// Telemetry is the part of the telemetry stanza that the Prometheus endpoint uses.
type Telemetry struct {
	// PrometheusRetention is how long metrics are kept; 0 turns sys/metrics?format=prometheus off, as in
	// Vault.
	PrometheusRetention time.Duration
	// DisableHostname leaves the host's name out of metric names.
	DisableHostname bool
	// MetricsPrefix is the first part of metric names, "vault" by default.
	MetricsPrefix string
}

// UserLockout says when logins of a user are refused after failures.
type UserLockout struct {
	// Threshold is the number of failures that locks; at least 1.
	Threshold uint64
	// Duration is how long a user stays locked.
	Duration time.Duration
	// CounterReset is how long a failure is remembered.
	CounterReset time.Duration
	// Disabled turns the lockout off.
	Disabled bool
	// Forced is set when the lockout is on whatever the tuning of a mount says.
	Forced bool
}

// LockoutStanza is a user_lockout stanza. What is 0 or nil was left out.
type LockoutStanza struct {
	Threshold              uint64
	Duration, CounterReset time.Duration
	Disable                *bool
}

// Listener is one address that the API is served on: of TCP, or of a Unix socket.
type Listener struct {
	// Address is host:port, of which port 0 asks the system for a free one, or the path of the socket.
	Address string
	// Place is where the configuration names the address.
	Place Place
	// Socket is nil for a TCP listener.
	Socket *Socket
	// ClusterAddress is host:port for traffic between nodes; the address's port + 1 by default.
	ClusterAddress string
	// TLS is nil when the listener serves plain HTTP.
	TLS          *TLS
	Timeouts     Timeouts
	Limits       Limits
	ForwardedFor ForwardedFor
	// RequireRequestHeader refuses requests without "X-Vault-Request: true".
	RequireRequestHeader bool
	// UnauthenticatedMetrics serves sys/metrics without a token.
	UnauthenticatedMetrics bool
	// GenerateRoot and Rekey say who may use sys/generate-root, sys/rekey and sys/rekey-recovery-key without a token.
	GenerateRoot, Rekey Access
}

// Socket says who may open a Unix socket.
type Socket struct {
	// Mode is the mode of the socket's file: 0600 unless the configuration says else, 0660 when it names a group.
	Mode fs.FileMode
	// User and Group are ids or names of who owns it; "" leaves the process's.
	User, Group string
}

// Access says who may use endpoints without a token.
type Access int

// Accesses.
const (
	// AccessAtMachine lets only those who sit at the machine. It is the default.
	AccessAtMachine Access = iota
	// AccessEverybody lets everybody.
	AccessEverybody
	// AccessNobody asks everybody for a token.
	AccessNobody
)

// TLS is the transport security of a listener.
type TLS struct {
	// Place is where the configuration names the certificate.
	Place    Place
	CertFile string
	KeyFile  string
	// MinVersion and MaxVersion are tls.VersionTLS12 or tls.VersionTLS13.
	MinVersion uint16
	MaxVersion uint16
	// CipherSuites are those offered for TLS 1.2; empty means Go's choice.
	CipherSuites []uint16
	// ClientCAFile holds the authorities that client certificates are checked against, or "".
	ClientCAFile string
	// ClientAuth is how client certificates are treated: requested unless the configuration says else.
	ClientAuth tls.ClientAuthType
}

// Timeouts are those of the HTTP server; 0 means none.
type Timeouts struct {
	ReadHeader time.Duration
	Read       time.Duration
	Write      time.Duration
	Idle       time.Duration
}

// Limits bounds what one request may cost.
type Limits struct {
	// RequestSize is the largest body in bytes.
	RequestSize int64
	// RequestDuration is the time after which a request is cancelled.
	RequestDuration time.Duration
	JSON            JSONLimits
}

// JSONLimits bounds a JSON body, before it is parsed.
type JSONLimits struct {
	// Depth is the number of containers inside each other.
	Depth int
	// StringLength is the longest string in bytes.
	StringLength int
	// ObjectEntries and ArrayElements bound a single container.
	ObjectEntries int
	ArrayElements int
	// Tokens bounds the whole body.
	Tokens int
}

// ForwardedFor says whose X-Forwarded-For header is believed.
type ForwardedFor struct {
	// Authorized are the proxies, and Socket says that who opens the Unix socket is one; without either the header is
	// ignored.
	Authorized []netip.Prefix
	Socket     bool
	// HopSkips is the number of addresses to skip from the right of the header.
	HopSkips int
	// RejectNotPresent refuses a proxy's request without the header, and RequireHeader everybody's.
	RejectNotPresent bool
	RequireHeader    bool
	// RejectNotAuthorized refuses a request with the header from elsewhere.
	RejectNotAuthorized bool
}
