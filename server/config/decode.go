package config

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"coffer/barrier/seal"
	"coffer/server/loglevel"
)

// maxTTL is the longest duration that Vault accepts for a lease: about a hundred years.
const maxTTL = 100 * 365 * 24 * time.Hour

// defaults is the configuration of an empty file.
func defaults() *Config {
	return &Config{
		Seal:         Seal{Type: seal.TypeShamir},
		Log:          Log{Level: slog.LevelInfo, Format: LogText},
		Leases:       Leases{DefaultTTL: DefaultLeaseTTL, MaxTTL: DefaultLeaseTTL},
		Telemetry:    defaultTelemetry(),
		UserLockouts: map[string]LockoutStanza{},
	}
}

// decode reads the merged top-level entries of all files.
func decode(entries []entry, pos Position, rep *report) *Config {
	c := defaults()
	decodeTop(newScope("", "", pos, entries, rep), c)
	return c
}

// decodeTop reads the top level into c, and with it everything.
func decodeTop(top *scope, c *Config) {
	c.Listeners = decodeListeners(top)
	decodeStorage(top, &c.Storage)
	decodeSeal(top, &c.Seal)
	decodeCluster(top, &c.Cluster)
	decodeLog(top, &c.Log)
	decodeLeases(top, &c.Leases)
	decodeTelemetry(top, &c.Telemetry)
	decodeLockouts(top, c.UserLockouts)
	c.Audit = decodeAudit(top)
	refuseInitialize(top)
	top.filePath("pid_file", &c.PIDFile)
	top.boolean("ui", &c.UI)
	top.boolean("disable_mlock", &c.DisableMlock)
	top.boolean("raw_storage_endpoint", &c.RawStorageEndpoint)
	top.ignore(unusedKeys()...)
	top.finish()
}

// unusedKeys are the top-level keys of Vault that have no meaning here.
func unusedKeys() []string {
	return []string{
		"adaptive_overload_protection", "administrative_namespace_path", "allow_audit_log_prefixing", "cache_size",
		"cloud", "cluster_cipher_suites", "detect_deadlocks", "disable_cache", "disable_clustering",
		"disable_indexing", "disable_performance_standby", "disable_printable_check", "disable_sealwrap",
		"disable_sentinel_trace", "enable_multiseal", "enable_post_unseal_trace",
		"enable_response_header_hostname", "enable_response_header_raft_node_id", "enable_ui", "entropy",
		"experiments", "feature_flags", "imprecise_lease_role_tracking", "introspection_endpoint", "kms_library",
		"license", "license_path", "log_requests_level", "log_rotate_bytes", "log_rotate_duration",
		"log_rotate_max_files", "observations", "plugin_directory", "plugin_file_permissions", "plugin_file_uid",
		"plugin_tmpdir", "post_unseal_trace_directory", "remove_irrevocable_lease_after", "replication",
		"reporting", "reporting_scan_directory", "request_limiter", "sentinel", "service_registration",
	}
}

func decodeCluster(top *scope, c *Cluster) {
	top.str("cluster_name", &c.Name)
	top.str("api_addr", &c.APIAddr)
	top.str("cluster_addr", &c.ClusterAddr)
	var err error
	if c.APIAddr, err = apiURL(c.APIAddr); err != nil {
		top.fail("api_addr", "%v", err)
	}
	if c.ClusterAddr, err = clusterURL(c.ClusterAddr); err != nil {
		top.fail("cluster_addr", "%v", err)
	}
}

var (
	errLogLevel  = errors.New(`expected "trace", "debug", "info", "warn" or "error"`)
	errLogFormat = errors.New(`expected "standard" or "json"`)
)

// ParseLogLevel reads a level as Vault's -log-level takes it, in any case.
func ParseLogLevel(text string) (slog.Level, error) {
	level, ok := loglevel.Parse(strings.TrimSpace(text))
	if !ok {
		return 0, errLogLevel
	}
	return level, nil
}

// ParseLogFormat reads a format as Vault's -log-format takes it, in any case.
func ParseLogFormat(text string) (LogFormat, error) {
	switch format := LogFormat(strings.ToLower(strings.TrimSpace(text))); format {
	case LogText, LogJSON:
		return format, nil
	default:
		return "", errLogFormat
	}
}

func decodeLog(top *scope, l *Log) {
	var level, format string
	top.str("log_level", &level)
	top.str("log_format", &format)
	top.filePath("log_file", &l.File)
	if level != "" {
		if parsed, err := ParseLogLevel(level); err != nil {
			top.fail("log_level", "%v, got %q", err, level)
		} else {
			l.Level = parsed
		}
	}
	if format != "" {
		if parsed, err := ParseLogFormat(format); err != nil {
			top.fail("log_format", "%v, got %q", err, format)
		} else {
			l.Format = parsed
		}
	}
}

func decodeLeases(top *scope, l *Leases) {
	top.duration("default_lease_ttl", &l.DefaultTTL, 0, maxTTL)
	top.duration("max_lease_ttl", &l.MaxTTL, 0, maxTTL)
	// As in Vault, 0 asks for the default.
	if l.DefaultTTL == 0 {
		l.DefaultTTL = DefaultLeaseTTL
	}
	if l.MaxTTL == 0 {
		l.MaxTTL = DefaultLeaseTTL
	}
	if l.DefaultTTL > l.MaxTTL {
		key := "default_lease_ttl"
		if _, ok := top.read[key]; !ok {
			key = "max_lease_ttl"
		}
		top.fail(key, "default_lease_ttl (%s) is above max_lease_ttl (%s)", l.DefaultTTL, l.MaxTTL)
	}
}

// defaultRetention is Vault's default of prometheus_retention_time.
const defaultRetention = 24 * time.Hour

func defaultTelemetry() Telemetry {
	return Telemetry{MetricsPrefix: DefaultMetricsPrefix, PrometheusRetention: defaultRetention}
}

// IsDefault reports whether nothing of it was configured otherwise.
func (t Telemetry) IsDefault() bool { return t == defaultTelemetry() }

func decodeTelemetry(top *scope, t *Telemetry) {
	if s := top.block("telemetry"); s != nil {
		decodeTelemetryKeys(s, t)
	}
}

func decodeTelemetryKeys(s *scope, t *Telemetry) {
	s.duration("prometheus_retention_time", &t.PrometheusRetention, 0, maxTTL)
	s.boolean("disable_hostname", &t.DisableHostname)
	s.str("metrics_prefix", &t.MetricsPrefix)
	s.ignore("add_lease_metrics_namespace_labels", "add_mount_point_rollback_metrics", "circonus_api_app",
		"circonus_api_token", "circonus_api_url", "circonus_broker_id", "circonus_broker_select_tag",
		"circonus_check_display_name", "circonus_check_force_metric_activation", "circonus_check_id",
		"circonus_check_instance_id", "circonus_check_search_tag", "circonus_check_tags",
		"circonus_submission_interval", "circonus_submission_url", "dogstatsd_addr", "dogstatsd_tags",
		"enable_hostname_label", "filter_default", "lease_metrics_epsilon", "maximum_gauge_cardinality",
		"num_lease_metrics_buckets", "prefix_filter", "stackdriver_debug_logs", "stackdriver_location",
		"stackdriver_namespace", "stackdriver_project_id", "statsd_address", "statsite_address",
		"unauthenticated_metrics_access", "usage_gauge_period")
	s.finish()
}

func decodeLockouts(top *scope, lockouts map[string]LockoutStanza) {
	for _, s := range top.labelled("user_lockout") {
		switch s.label {
		case "all", "approle", "ldap", "userpass":
		default:
			s.report.fail(s.pos, s.path, `expected "all", "approle", "ldap" or "userpass"`)
			continue
		}
		lockouts[s.label] = decodeLockoutKeys(s)
	}
}

// decodeLockoutKeys reads one stanza. What a method's leaves out comes from "all", see Lockout.
func decodeLockoutKeys(s *scope) LockoutStanza {
	threshold := 0
	var l LockoutStanza
	s.integer("lockout_threshold", &threshold, 0, 1_000_000)
	s.duration("lockout_duration", &l.Duration, 0, maxTTL)
	s.duration("lockout_counter_reset", &l.CounterReset, 0, maxTTL)
	l.Disable = s.optional("disable_lockout")
	s.finish()
	l.Threshold = uint64(threshold)
	return l
}

// Lockout is the policy for an auth method type: its own stanza, completed by the one for "all", completed
// by Vault's defaults of 5 failures, 15 minutes and 15 minutes. The environment has the last word on whether there is
// a lockout at all, as in Vault.
func (c *Config) Lockout(method string) UserLockout {
	own, all := c.UserLockouts[method], c.UserLockouts["all"]
	l := UserLockout{Threshold: 5, Duration: 15 * time.Minute, CounterReset: 15 * time.Minute}
	for _, part := range []LockoutStanza{all, own} {
		if part.Threshold != 0 {
			l.Threshold = part.Threshold
		}
		if part.Duration != 0 {
			l.Duration = part.Duration
		}
		if part.CounterReset != 0 {
			l.CounterReset = part.CounterReset
		}
		if part.Disable != nil {
			l.Disabled = *part.Disable
		}
	}
	if c.DisableUserLockout != nil {
		l.Disabled, l.Forced = *c.DisableUserLockout, !*c.DisableUserLockout
	}
	return l
}
