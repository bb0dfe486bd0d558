package config

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"coffer/server/loglevel"
)

func noEnv(string) string { return "" }

func envOf(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// write puts text into a new file called name and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// minimal is what every configuration needs.
const minimal = `
storage "inmem" {}
listener "tcp" { tls_disable = true }
`

// listenerDefaults is the listener of the empty stanza with tls_disable.
func listenerDefaults() Listener {
	return Listener{
		Address:        "127.0.0.1:8200",
		ClusterAddress: "127.0.0.1:8201",
		Timeouts:       Timeouts{ReadHeader: 10 * time.Second, Read: 30 * time.Second, Idle: 5 * time.Minute},
		Limits: Limits{
			RequestSize: 33554432, RequestDuration: 90 * time.Second,
			JSON: JSONLimits{
				Depth: 300, StringLength: 1048576, ObjectEntries: 10000, ArrayElements: 10000, Tokens: 500000,
			},
		},
		ForwardedFor: ForwardedFor{RejectNotPresent: true, RejectNotAuthorized: true},
	}
}

func compare(t *testing.T, got, want any) {
	t.Helper()
	// Where settings stand is for TestPlaces.
	opts := []cmp.Option{cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(Place{}),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLoadDefaults(t *testing.T) {
	got, warnings, err := Load([]string{write(t, "a.hcl", minimal)}, noEnv)
	if err != nil || len(warnings) != 0 {
		t.Fatalf("Load = %v, warnings %v", err, warnings)
	}
	compare(t, got, &Config{
		Listeners: []Listener{listenerDefaults()},
		Storage:   Storage{Kind: StorageMemory, Label: "inmem"},
		Seal:      Seal{Type: "shamir"},
		Log:       Log{Level: slog.LevelInfo, Format: LogText},
		Leases:    Leases{DefaultTTL: 768 * time.Hour, MaxTTL: 768 * time.Hour},
		Telemetry: Telemetry{MetricsPrefix: "vault", PrometheusRetention: 24 * time.Hour},
	})
}

// The configuration that the official Helm chart writes in standalone mode, in both dialects.
func TestLoadHelmChart(t *testing.T) {
	listener := listenerDefaults()
	listener.Address, listener.ClusterAddress = "[::]:8200", "[::]:8201"
	listener.UnauthenticatedMetrics = true
	want := &Config{
		Listeners:    []Listener{listener},
		Storage:      Storage{Kind: StorageBolt, Label: "file", Path: "testdata/empty"},
		Seal:         Seal{Type: "shamir"},
		Log:          Log{Level: slog.LevelInfo, Format: LogText},
		Leases:       Leases{DefaultTTL: 768 * time.Hour, MaxTTL: 768 * time.Hour},
		Telemetry:    Telemetry{MetricsPrefix: "vault", PrometheusRetention: 30 * time.Second, DisableHostname: true},
		UI:           true,
		DisableMlock: true,
	}
	for file, warning := range map[string]string{
		"testdata/helm-standalone.hcl":  "testdata/helm-standalone.hcl:23: service_registration: ",
		"testdata/helm-standalone.json": "testdata/helm-standalone.json:16: service_registration: ",
	} {
		t.Run(file, func(t *testing.T) {
			got, warnings, err := Load([]string{file}, noEnv)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, want)
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), warning) {
				t.Errorf("warnings = %v, want one that starts with %q", warnings, warning)
			}
		})
	}
	if got := want.Storage.File(); got != filepath.Join("testdata", "empty", "coffer.db") {
		t.Errorf("File = %q", got)
	}
}

func TestLoadEveryKey(t *testing.T) {
	got, warnings, err := Load([]string{"testdata/full.hcl"}, noEnv)
	if err != nil || len(warnings) != 0 {
		t.Fatalf("Load = %v, warnings %v", err, warnings)
	}
	plain := listenerDefaults()
	plain.UnauthenticatedMetrics = true
	plain.ForwardedFor.Authorized = []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.0/24"),
	}
	compare(t, got, &Config{
		Listeners: []Listener{{
			Address:        "0.0.0.0:443",
			ClusterAddress: ":444",
			TLS: &TLS{
				CertFile: "testdata/cert.pem", KeyFile: "testdata/key.pem", ClientCAFile: "testdata/cert.pem",
				MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13,
				CipherSuites: []uint16{
					tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
				},
				ClientAuth: tls.RequireAndVerifyClientCert,
			},
			Timeouts: Timeouts{ReadHeader: time.Second, Read: 2 * time.Second, Write: 3 * time.Second, Idle: time.Minute},
			Limits: Limits{
				RequestSize: 1 << 20, RequestDuration: 5 * time.Second,
				JSON: JSONLimits{Depth: 10, StringLength: 11, ObjectEntries: 12, ArrayElements: 13, Tokens: 14},
			},
			ForwardedFor: ForwardedFor{
				Authorized: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
				HopSkips:   1,
			},
			RequireRequestHeader: true,
		}, plain},
		Storage: Storage{Kind: StorageBolt, Label: "bolt", Path: "testdata/empty"},
		Seal:    Seal{Type: "shamir"},
		Cluster: Cluster{
			Name: "home", APIAddr: "https://vault.example.com:8200", ClusterAddr: "https://vault.example.com:8201",
		},
		Log:       Log{Level: loglevel.Trace, Format: LogJSON, File: "logs/"},
		Leases:    Leases{DefaultTTL: time.Hour, MaxTTL: 2 * time.Hour},
		Telemetry: Telemetry{PrometheusRetention: 24 * time.Hour, DisableHostname: true, MetricsPrefix: "coffer"},
		UserLockouts: map[string]LockoutStanza{
			"all":      {Threshold: 10, Duration: 10 * time.Minute, CounterReset: 11 * time.Minute},
			"userpass": {Threshold: 3, Disable: new(true)},
		},
		PIDFile:            "coffer.pid",
		UI:                 true,
		DisableMlock:       true,
		RawStorageEndpoint: true,
	})
}

func TestLoadFolder(t *testing.T) {
	got, _, err := Load([]string{"testdata/folder"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if got.Log.Level != slog.LevelWarn {
		t.Errorf("level = %v: the later file should win", got.Log.Level)
	}
	var addresses []string
	for _, l := range got.Listeners {
		addresses = append(addresses, l.Address)
	}
	compare(t, addresses, []string{"127.0.0.1:8200", "127.0.0.1:8300"})
}

func TestLoadMerge(t *testing.T) {
	first := write(t, "a.hcl", minimal+`api_addr = "http://one:8200"`+"\n"+`ui = true`)
	second := write(t, "b.json", `{"storage": {"bolt": {"path": "testdata/empty"}}, "api_addr": "http://two:8200"}`)
	got, _, err := Load([]string{first, second}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if got.Cluster.APIAddr != "http://two:8200" || got.Storage.Kind != StorageBolt || !got.UI {
		t.Errorf("merged: %+v", got)
	}
}

// Kubernetes mounts a ConfigMap as links into a hidden folder.
func TestLoadFolderOfLinks(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "..data", "a.hcl"), []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..data", "a.hcl"), filepath.Join(folder, "a.hcl")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load([]string{folder}, noEnv); err != nil {
		t.Error(err)
	}
}

func TestLoadReadErrors(t *testing.T) {
	huge := write(t, "huge.hcl", "# "+strings.Repeat("x", maxFileSize))
	for _, test := range []struct {
		name  string
		paths []string
		want  error
	}{
		{"no path", nil, ErrNoFiles},
		{"folder without files", []string{"testdata/empty"}, ErrNoFiles},
		{"missing file", []string{"testdata/absent.hcl"}, fs.ErrNotExist},
		{"file above 1 MiB", []string{huge}, ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _, err := Load(test.paths, noEnv)
			if !errors.Is(err, test.want) || c != nil {
				t.Errorf("Load = %v, %v, want %v", c, err, test.want)
			}
		})
	}
}

func TestLoadDialects(t *testing.T) {
	for _, test := range []struct{ name, file, text string }{
		{"HCL block in a block", "a.hcl", `storage { inmem {} }` + "\n" + `listener { tcp { tls_disable = 1 } }`},
		{"HCL type key", "a.hcl", `storage { type = "inmem" }` + "\n" + `listener { type = "TCP" tls_disable = 1 }`},
		{"HCL assigned block", "a.hcl", `storage = { inmem = {} }` + "\n" + `listener = [{ tcp = { tls_disable = "1" } }]`},
		{"HCL upper-case keys", "a.hcl", `Storage "InMem" {}` + "\n" + `listener "tcp" { TLS_Disable = "T" }`},
		{"old name of storage", "a.hcl", `backend "inmem" {}` + "\n" + `listener "tcp" { tls_disable = true }`},
		{"CRLF", "a.hcl", "storage \"inmem\" {}\r\nlistener \"tcp\" {\r\n tls_disable = true\r\n}\r\n"},
		{"JSON objects", "a.json", `{"storage": {"inmem": {}}, "listener": {"tcp": {"tls_disable": true}}}`},
		{"JSON lists", "a.json", `{"storage": [{"inmem": {}}], "listener": [{"tcp": [{"tls_disable": "true"}]}]}`},
		{"JSON type key", "a.json", `{"storage": {"type": "inmem"}, "listener": [{"type": "tcp", "tls_disable": 1}]}`},
		{"JSON nulls", "a.json", `{"storage": {"inmem": {}}, "seal": null, "telemetry": null, "api_addr": null,
			"listener": {"tcp": {"tls_disable": true, "address": null}}}`},
		{"JSON in a file called hcl", "a.hcl", ` {"storage": {"inmem": {}}, "listener": {"tcp": {"tls_disable": true}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, warnings, err := Load([]string{write(t, test.file, test.text)}, noEnv)
			if err != nil || len(warnings) != 0 {
				t.Fatalf("Load = %v, warnings %v", err, warnings)
			}
			compare(t, got.Listeners, []Listener{listenerDefaults()})
			compare(t, got.Storage, Storage{Kind: StorageMemory, Label: "inmem"})
		})
	}
}

func TestLoadEnvironment(t *testing.T) {
	path := write(t, "a.hcl", minimal+`
api_addr  = "http://file:8200"
log_level = "info"
ui        = true`)
	got, _, err := Load([]string{path}, envOf(map[string]string{
		"VAULT_API_ADDR":             "http://env:8200",
		"VAULT_REDIRECT_ADDR":        "http://old:8200",
		"VAULT_CLUSTER_ADDR":         "env:8201",
		"VAULT_LOG_LEVEL":            "DEBUG",
		"VAULT_LOG_FORMAT":           "json",
		"VAULT_DISABLE_MLOCK":        "1",
		"VAULT_RAW_STORAGE_ENDPOINT": "true",
		"VAULT_DISABLE_USER_LOCKOUT": "true",
		"VAULT_UI":                   "false",
		"VAULT_SEAL_TYPE":            "shamir",
	}))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, got.Cluster, Cluster{APIAddr: "http://env:8200", ClusterAddr: "https://env:8201"})
	compare(t, got.Log, Log{Level: slog.LevelDebug, Format: LogJSON})
	if !got.DisableMlock || !got.RawStorageEndpoint || got.DisableUserLockout == nil || !*got.DisableUserLockout || got.UI {
		t.Errorf("switches: %+v", got)
	}
	old, _, err := Load([]string{path}, envOf(map[string]string{"VAULT_ADVERTISE_ADDR": "http://older:8200"}))
	if err != nil || old.Cluster.APIAddr != "http://older:8200" {
		t.Errorf("VAULT_ADVERTISE_ADDR: %v, %v", old, err)
	}
}

func TestLoadEnvironmentErrors(t *testing.T) {
	path := write(t, "a.hcl", minimal)
	for name, text := range map[string]string{
		"VAULT_API_ADDR":      "env:8200",
		"VAULT_CLUSTER_ADDR":  "https://",
		"VAULT_LOG_LEVEL":     "loud",
		"VAULT_LOG_FORMAT":    "xml",
		"VAULT_DISABLE_MLOCK": "maybe",
		"VAULT_SEAL_TYPE":     "awskms",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Load([]string{path}, envOf(map[string]string{name: text}))
			if !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), "environment: "+name+": ") {
				t.Errorf("Load = %v", err)
			}
		})
	}
}

func TestLoadDev(t *testing.T) {
	got, _, err := LoadDev(nil, Dev{Address: "127.0.0.1:8300"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	listener := listenerDefaults()
	listener.Address, listener.ClusterAddress = "127.0.0.1:8300", "127.0.0.1:8301"
	compare(t, got.Listeners, []Listener{listener})
	compare(t, got.Storage, Storage{Kind: StorageMemory, Label: "inmem"})
	compare(t, got.Cluster, Cluster{APIAddr: "http://127.0.0.1:8300"})

	path := write(t, "a.hcl", `storage "file" { path = "testdata/empty" }`+"\n"+`ui = true`)
	got, _, err = LoadDev([]string{path}, Dev{Address: "127.0.0.1:8300"}, noEnv)
	if err != nil || got.Storage.Kind != StorageBolt || got.Storage.Label != "file" || !got.UI || !got.RawStorageEndpoint || len(got.Listeners) != 1 {
		t.Errorf("with a file: %+v, %v", got, err)
	}
	if _, _, err = LoadDev(nil, Dev{Address: "nonsense"}, noEnv); !errors.Is(err, ErrInvalid) {
		t.Errorf("bad address: %v", err)
	}
}

func TestLockout(t *testing.T) {
	c := &Config{UserLockouts: map[string]LockoutStanza{
		"all":      {Threshold: 10, Duration: time.Hour},
		"userpass": {Threshold: 3},
		"ldap":     {Disable: new(true)},
	}}
	compare(t, c.Lockout("userpass"), UserLockout{Threshold: 3, Duration: time.Hour, CounterReset: 15 * time.Minute})
	compare(t, c.Lockout("approle"), UserLockout{Threshold: 10, Duration: time.Hour, CounterReset: 15 * time.Minute})
	if !c.Lockout("ldap").Disabled || c.Lockout("approle").Disabled {
		t.Error("disable_lockout of ldap should reach ldap alone")
	}
	compare(t, (&Config{}).Lockout("x"),
		UserLockout{Threshold: 5, Duration: 15 * time.Minute, CounterReset: 15 * time.Minute})
}

// TestWhoDisablesTheLockout: the environment before a method's own stanza before "all", as real Vault has it.
func TestWhoDisablesTheLockout(t *testing.T) {
	for _, tt := range []struct {
		environment, own, all *bool
		disabled, forced      bool
	}{
		{nil, nil, nil, false, false},
		{nil, nil, new(true), true, false},
		{nil, new(true), nil, true, false},
		{nil, new(true), new(false), true, false},
		{nil, new(false), new(true), false, false},
		{new(true), nil, nil, true, false},
		{new(true), new(false), new(false), true, false},
		{new(false), nil, new(true), false, true},
		{new(false), new(true), nil, false, true},
	} {
		c := &Config{DisableUserLockout: tt.environment,
			UserLockouts: map[string]LockoutStanza{"all": {Disable: tt.all}, "userpass": {Disable: tt.own}}}
		if l := c.Lockout("userpass"); l.Disabled != tt.disabled || l.Forced != tt.forced {
			t.Errorf("%+v: %+v", tt, l)
		}
	}
}
