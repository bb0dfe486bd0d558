package main

import (
	"encoding/json"
	"strings"
	"testing"

	"coffer/server/config"
)

// The configuration is shown in Vault's form, whatever seals it, and no secret of it.
func TestSanitizedConfiguration(t *testing.T) {
	path := writeFile(t, "coffer.hcl", `
storage "file" { path = "`+t.TempDir()+`" }
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
  telemetry { unauthenticated_metrics_access = true }
}
seal "static" {
  current_key_id = "k1"
  current_key    = "`+strings.Repeat("5a", 32)+`"
}
telemetry { prometheus_retention_time = "30s" }
default_lease_ttl = "1h"
ui = true
`)
	cfg, _, err := config.Load([]string{path}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(sanitized(cfg))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"seals":[{"disabled":false,"name":"static","priority":1,"type":"static"}]`, `"enable_ui":true`,
		`"storage":{"cluster_addr":"","disable_clustering":false,"redirect_addr":"","type":"file"}`,
		`"telemetry":[{"unauthenticated_metrics_access":true}]`, `"prometheus_retention_time":30000000000`,
		`"default_lease_ttl":3600`, `"max_lease_ttl":0`, `"raw_storage_endpoint":false`, `"usage_gauge_period":600000000000`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if strings.Contains(string(text), "5a5a") {
		t.Error("the key of the seal is shown")
	}
}
