package main

import (
	"maps"
	"time"

	"coffer/server/config"
	"coffer/server/loglevel"
)

// sanitized is the part of the configuration that holds no secrets, as `sys/config/state/sanitized` shows it, with the
// keys of Vault that have no meaning here at their defaults.
func sanitized(cfg *config.Config) map[string]any {
	all := map[string]any{
		"api_addr": cfg.Cluster.APIAddr, "cluster_addr": cfg.Cluster.ClusterAddr, "cluster_name": cfg.Cluster.Name,
		"default_lease_ttl": configuredSeconds(cfg.Leases.DefaultTTL, config.DefaultLeaseTTL),
		"max_lease_ttl":     configuredSeconds(cfg.Leases.MaxTTL, config.DefaultLeaseTTL),
		"disable_mlock":     cfg.DisableMlock, "raw_storage_endpoint": cfg.RawStorageEndpoint, "enable_ui": cfg.UI,
		"log_level": loglevel.Name(cfg.Log.Level), "log_format": logFormat(cfg.Log.Format), "pid_file": cfg.PIDFile,
		"listeners": sanitizedListeners(cfg.Listeners),
		"seals": []any{map[string]any{
			"type": cfg.Seal.Type, "name": cfg.Seal.Type, "priority": 1, "disabled": false}},
		"storage": map[string]any{"type": cfg.Storage.Label, "redirect_addr": cfg.Cluster.APIAddr,
			"cluster_addr": cfg.Cluster.ClusterAddr, "disable_clustering": false},
	}
	if !cfg.Telemetry.IsDefault() {
		all["telemetry"] = sanitizedTelemetry(cfg.Telemetry)
	}
	maps.Copy(all, withoutMeaning())
	return all
}

// configuredSeconds is a duration in seconds, 0 for the default.
func configuredSeconds(d, usual time.Duration) int64 {
	if d == usual {
		return 0
	}
	return int64(d / time.Second)
}

// logFormat is "" for the usual one.
func logFormat(f config.LogFormat) string {
	if f == config.LogText {
		return ""
	}
	return string(f)
}

func sanitizedListeners(listeners []config.Listener) []any {
	list := make([]any, len(listeners))
	for i, l := range listeners {
		kind := "tcp"
		if l.Socket != nil {
			kind = "unix"
		}
		shown := map[string]any{"address": l.Address, "cluster_address": l.ClusterAddress, "tls_disable": l.TLS == nil}
		if l.TLS != nil {
			shown["tls_cert_file"], shown["tls_key_file"] = l.TLS.CertFile, l.TLS.KeyFile
			if l.TLS.ClientCAFile != "" {
				shown["tls_client_ca_file"] = l.TLS.ClientCAFile
			}
		}
		if l.UnauthenticatedMetrics {
			shown["telemetry"] = []any{map[string]any{"unauthenticated_metrics_access": true}}
		}
		list[i] = map[string]any{"type": kind, "config": shown}
	}
	return list
}

// sanitizedTelemetry shows what is configured beside the values that Vault has where nothing is.
func sanitizedTelemetry(t config.Telemetry) map[string]any {
	shown := map[string]any{
		"disable_hostname": t.DisableHostname, "prometheus_retention_time": int64(t.PrometheusRetention),
		"metrics_prefix":                     "",
		"add_lease_metrics_namespace_labels": false, "add_mount_point_rollback_metrics": false, "dogstatsd_tags": nil,
		"lease_metrics_epsilon": int64(time.Hour), "maximum_gauge_cardinality": 500, "num_lease_metrics_buckets": 168,
		"stackdriver_debug_logs": false, "usage_gauge_period": int64(10 * time.Minute),
	}
	if t.MetricsPrefix != config.DefaultMetricsPrefix {
		shown["metrics_prefix"] = t.MetricsPrefix
	}
	for _, key := range []string{
		"circonus_api_app", "circonus_api_token", "circonus_api_url", "circonus_broker_id", "circonus_broker_select_tag",
		"circonus_check_display_name", "circonus_check_force_metric_activation", "circonus_check_id",
		"circonus_check_instance_id", "circonus_check_search_tag", "circonus_check_tags", "circonus_submission_interval",
		"circonus_submission_url", "dogstatsd_addr", "stackdriver_location", "stackdriver_namespace",
		"stackdriver_project_id", "statsd_address", "statsite_address",
	} {
		shown[key] = ""
	}
	return shown
}

// withoutMeaning are the keys that clients of Vault look for and that configure nothing here.
func withoutMeaning() map[string]any {
	keys := map[string]any{"experiments": nil}
	for _, key := range []string{
		"administrative_namespace_path", "cluster_cipher_suites", "detect_deadlocks", "log_requests_level",
		"plugin_directory", "plugin_tmpdir", "post_unseal_trace_directory",
	} {
		keys[key] = ""
	}
	for _, key := range []string{
		"cache_size", "default_max_request_duration", "plugin_file_permissions", "plugin_file_uid",
		"remove_irrevocable_lease_after",
	} {
		keys[key] = 0
	}
	for _, key := range []string{
		"allow_audit_log_prefixing", "disable_cache", "disable_clustering", "disable_indexing",
		"disable_performance_standby", "disable_printable_check", "disable_sealwrap", "disable_sentinel_trace",
		"enable_post_unseal_trace", "enable_response_header_hostname", "enable_response_header_raft_node_id",
		"imprecise_lease_role_tracking", "introspection_endpoint",
	} {
		keys[key] = false
	}
	return keys
}
