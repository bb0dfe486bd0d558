package main

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

const unsealedBody = `{"type":"shamir","initialized":true,"sealed":false,"t":3,"n":5,"progress":0,"nonce":"",
"version":"1.21.2","build_date":"2026-01-01T00:00:00Z","storage_type":"bolt","cluster_name":"home","cluster_id":"7b0e",
"ha_enabled":false}`

const unsealedTable = `Key             Value
---             -----
Seal Type       shamir
Initialized     true
Sealed          false
Total Shares    5
Threshold       3
Version         1.21.2
Build Date      2026-01-01T00:00:00Z
Storage Type    bolt
Cluster Name    home
Cluster ID      7b0e
HA Enabled      false
`

const sealedBody = `{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":1,"nonce":"",
"version":"1.21.2","build_date":"2026-01-01T00:00:00Z","storage_type":"bolt","ha_enabled":false}`

const sealedTable = `Key                Value
---                -----
Seal Type          shamir
Initialized        true
Sealed             true
Total Shares       5
Threshold          3
Unseal Progress    1/3
Unseal Nonce       n/a
Version            1.21.2
Build Date         2026-01-01T00:00:00Z
Storage Type       bolt
HA Enabled         false
`

const sealedYAML = `build_date: "2026-01-01T00:00:00Z"
ha_enabled: false
initialized: true
"n": 5
nonce: ""
progress: 1
sealed: true
storage_type: bolt
t: 3
type: shamir
version: 1.21.2
`

const newBody = `{"type":"static","initialized":false,"sealed":true,"t":0,"n":0,"progress":0,"nonce":"",
"version":"1.21.2","build_date":"2026-01-01T00:00:00Z","storage_type":"bolt","recovery_seal":true}`

const newTable = `Key                      Value
---                      -----
Seal Type                static
Recovery Seal Type       n/a
Initialized              false
Sealed                   true
Total Recovery Shares    0
Threshold                0
Unseal Progress          0/0
Unseal Nonce             n/a
Version                  1.21.2
Build Date               2026-01-01T00:00:00Z
Storage Type             bolt
HA Enabled               false
`

const migrationBody = `{"type":"shamir","initialized":true,"sealed":true,"t":1,"n":1,"progress":0,"nonce":"","migration":true,
"version":"1.21.2","build_date":"2026-01-01T00:00:00Z","storage_type":"bolt","recovery_seal":false}`

const migrationTable = `Key                           Value
---                           -----
Seal Type                     shamir
Initialized                   true
Sealed                        true
Total Shares                  1
Threshold                     1
Unseal Progress               0/1
Unseal Nonce                  n/a
Seal Migration in Progress    true
Version                       1.21.2
Build Date                    2026-01-01T00:00:00Z
Storage Type                  bolt
HA Enabled                    false
`

// unwritableBody is that of a server whose storage cannot be written.
var unwritableBody = strings.Replace(unsealedBody, "}", `,"storage_error":"the disk is full"}`, 1)

const unwritableTable = `Key              Value
---              -----
Seal Type        shamir
Initialized      true
Sealed           false
Total Shares     5
Threshold        3
Version          1.21.2
Build Date       2026-01-01T00:00:00Z
Storage Type     bolt
Cluster Name     home
Cluster ID       7b0e
HA Enabled       false
Storage Error    the disk is full
`

// damagedBody is that of a server with records that cannot be read, whose table has one row more.
var damagedBody = strings.Replace(unsealedBody, "}", `,"damaged_records":2}`, 1)

const damagedTable = `Key                Value
---                -----
Seal Type          shamir
Initialized        true
Sealed             false
Total Shares       5
Threshold          3
Version            1.21.2
Build Date         2026-01-01T00:00:00Z
Storage Type       bolt
Cluster Name       home
Cluster ID         7b0e
HA Enabled         false
Damaged Records    2, see sys/damaged
`

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/sys/seal-status" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		args    []string
		code    int
		stdout  string
		stderr  string
	}{
		{"unsealed", answer(200, unsealedBody), nil, exitOK, unsealedTable, ""},
		{"sealed", answer(200, sealedBody), nil, exitSealed, sealedTable, ""},
		{"recovery keys", answer(200, newBody), nil, exitSealed, newTable, ""},
		{"unwritable", answer(200, unwritableBody), nil, exitOK, unwritableTable, ""},
		{"damaged", answer(200, damagedBody), nil, exitOK, damagedTable, ""},
		{"unreadable", answer(500, `{"errors":["the file is damaged"]}`), nil, exitError, "", "500 Internal Server Error the file is damaged"},
		{"migration", answer(200, migrationBody), nil, exitSealed, migrationTable, ""},
		{"JSON", answer(200, sealedBody), []string{"-format=json"}, exitSealed, sealedBody + "\n", ""},
		{"YAML", answer(200, sealedBody), []string{"-format", "yaml"}, exitSealed, sealedYAML, ""},
		{"YAML by its short name", answer(200, sealedBody), []string{"-format=yml"}, exitSealed, sealedYAML, ""},
		{"not a vault", answer(200, "<html>"), nil, exitError, "", "Error checking seal status: "},
		{"failing", answer(500, "{}"), nil, exitError, "", "unexpected status 500"},
		{"bad format", answer(200, "{}"), []string{"-format=xml"}, exitError, "", "expected table, json or yaml"},
		{"argument", answer(200, "{}"), []string{"x"}, exitError, "", `unexpected argument "x"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			r := run(t, nil, map[string]string{"VAULT_ADDR": server.URL + "/"}, append([]string{"status"}, test.args...)...)
			if code := r.wait(t); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if got := r.stdout.String(); got != test.stdout {
				t.Errorf("output\n%s\nwant\n%s", got, test.stdout)
			}
			if !strings.Contains(r.stderr.String(), test.stderr) {
				t.Errorf("error %q does not say %q", &r.stderr, test.stderr)
			}
		})
	}
}

// What a newcomer gets wrong about the address is answered with what to write.
func TestStatusOfAWrongAddress(t *testing.T) {
	server := httptest.NewServer(answer(200, unsealedBody))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for _, test := range []struct{ address, want string }{
		{"https://" + host, "set VAULT_ADDR to an address that begins with http://"},
		{host, "is no URL; it begins with http:// or https://"},
		{"http://127.0.0.1:1", "nobody listens there"},
		{"unix:///does/not/exist", "no such file"},
	} {
		r := run(t, nil, map[string]string{"VAULT_ADDR": test.address}, "status")
		if code := r.wait(t); code != exitError || !strings.Contains(r.stderr.String(), test.want) {
			t.Errorf("%s: exit code %d, %s", test.address, code, &r.stderr)
		}
	}
}

func TestStatusOverASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(answer(200, unsealedBody))
	server.Listener = listener
	server.Start()
	defer server.Close()
	r := run(t, nil, map[string]string{"VAULT_ADDR": "unix://" + path}, "status")
	if code := r.wait(t); code != exitOK || r.stdout.String() != unsealedTable {
		t.Errorf("exit code %d: %s%s", code, &r.stdout, &r.stderr)
	}
}

func TestStatusTLS(t *testing.T) {
	server := httptest.NewTLSServer(answer(200, unsealedBody))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	caFile := writeFile(t, "ca.pem", string(ca))
	for _, test := range []struct {
		name string
		env  map[string]string
		args []string
		code int
	}{
		{"unknown authority", nil, nil, exitError},
		{"not skipping", map[string]string{"VAULT_SKIP_VERIFY": "perhaps"}, nil, exitError},
		{"skipping by environment", map[string]string{"VAULT_SKIP_VERIFY": "true"}, nil, exitOK},
		{"skipping by flag", nil, []string{"-tls-skip-verify"}, exitOK},
		{"authority by environment", map[string]string{"VAULT_CACERT": caFile}, nil, exitOK},
		{"authority by flag", nil, []string{"-ca-cert", caFile}, exitOK},
		{"other name", nil, []string{"-ca-cert", caFile, "-tls-server-name=elsewhere.test"}, exitError},
		{"no authority in the file", nil, []string{"-ca-cert", writeFile(t, "x.pem", "x")}, exitError},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := run(t, nil, test.env, append([]string{"status", "-address=" + server.URL}, test.args...)...)
			if code := r.wait(t); code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, &r.stderr)
			}
		})
	}
}
