package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every row is what somebody wrote in line 3 of a file, and the whole answer after the file's name.
func TestMistakes(t *testing.T) {
	const yaml = `: this looks like YAML; the configuration is HCL or JSON: key = "value", and blocks such as listener "tcp" { … }`
	const quotes = `: typographic quotes, as word processors and web pages have them; write straight ones: "`
	for _, test := range []struct{ name, text, want string }{
		{"typographic quotes", "pid_file = “/run/x”", `:3: expected a value, got the end of the file` + quotes},
		{"typographic quotes of a label", "telemetry „x“ {}", `:3: illegal char` + quotes},
		{"a space from a web page", "ui =\u00a0true", `:3: expected a value, got the end of the file: a space that is none of ASCII`},
		{"YAML", "ui: true", `:3: illegal char` + yaml},
		{"nested YAML", "telemetry:\n  statsd: x", `:3: illegal char` + yaml},
		{"YAML with a head", "---\nui: true", yaml},
		{"TOML", "[telemetry]\nui = true", `this looks like TOML or INI; the configuration is HCL or JSON`},
		{"XML", "<config/>", `this looks like XML; the configuration is HCL or JSON`},
		{"a shell script", "export pid_file=/x", `this looks like a shell script; the configuration is HCL or JSON`},
		{"an unquoted path", "pid_file = /run/x", `:3: expected '/' for comment: texts stand in double quotes; write pid_file = "…"`},
		{"an unquoted path of the home", "pid_file = ~/x", `texts stand in double quotes; write pid_file = "…"`},
		{"an unquoted relative path", "pid_file = .coffer/x", `:3: expected a value: texts stand in double quotes; write pid_file = "…"`},
		{"an unquoted word", "log_level = debug", `:3: expected a value: texts stand in double quotes; write log_level = "…"`},
		{"an unquoted duration", "max_lease_ttl = 10h", `texts stand in double quotes; write max_lease_ttl = "…"`},
		{"an unquoted address", "api_addr = http://a:1", `:3: expected a value: texts stand in double quotes; write api_addr = "…"`},
		{"yes", "ui = yes", `:3: expected a value: write ui = true`},
		{"True", "ui = True # of Python", `:3: expected a value: write ui = true`},
		{"off", "ui = off", `:3: expected a value: write ui = false`},
		{"a quoted yes", `ui = "yes"`, `:3: ui: expected true or false, got "yes"; write ui = true`},
		{"a quoted off", `ui = "off"`, `:3: ui: expected true or false, got "off"; write ui = false`},
		{"none", "pid_file = none", `:3: expected a value: there is no such value; leave pid_file out`},
		{"single quotes", "pid_file = '/x'", `texts stand in double quotes; write " in place of '`},
		{"a semicolon", `pid_file = "/x";`, `:3: illegal char: no semicolon follows a value`},
		{"a path of Windows", `pid_file = "C:\data"`, `write pid_file with "/"`},
		{"a path of Windows that is read as control characters", `pid_file = "C:\temp"`, `:3: pid_file: control characters in a path`},
		{"a function", `pid_file = file("/x")`, `:3: expected a value: there are no functions and variables in a configuration`},
		{"a missing quote", `pid_file = "/x`, `:3: literal not terminated: a " is missing at the end of the line of pid_file`},
		{"a missing =", `ui true`, `"=" is missing; write ui = …`},
		{"two =", `ui == true`, `:3: expected a value: write one "=": ui = …`},
		{"an open block", "telemetry {\n disable_hostname = true\n", `the block that begins on line 3 has no end; write "}" after its last line`},
		// Paths.
		{"the home in a path", `pid_file = "~/x"`, `:3: pid_file: "~" is expanded by shells alone; write the whole path, such as "/home/me/x"`},
		{"somebody's home", `pid_file = "~me/x"`, `:3: pid_file: "~" is expanded by shells alone; write the whole path`},
		{"$HOME", `log_file = "$HOME/x"`, `:3: log_file: variables are not expanded; write the whole path`},
		{"${X}", `pid_file = "${X}/x"`, `:3: pid_file: variables are not expanded in a configuration; write the value itself`},
		{"${X} that is no path", `api_addr = "https://${HOST}:8200"`, `:3: api_addr: variables are not expanded in a configuration`},
		{"%X%", `pid_file = "%APPDATA%/x"`, `:3: pid_file: variables are not expanded; write the whole path`},
		{"a URL", `pid_file = "file:///x"`, `:3: pid_file: expected a path, not a URL; write "/x"`},
		{"white space", `pid_file = " /x"`, `:3: pid_file: white space at an end of the path; remove it`},
		{"the home in a key of the seal", `seal "static" { current_key_id = "1" current_key = "file://~/k" }`,
			`:3: seal.static.current_key: "~" is expanded by shells alone`},
		{"the home in a certificate", `listener "tcp" { address = "a:1" tls_cert_file = "~/c" tls_key_file = "$X/k" }`,
			`:3: listener.tcp.tls_cert_file: "~" is expanded`},
		{"the home in a socket", `listener "unix" { address = "~/s" }`, `:3: listener.unix.address: "~" is expanded`},
		// Keys.
		{"a misspelt key", `pidfile = "/x"`, `:3: pidfile: unknown key; did you mean pid_file?`},
		{"a key with dashes", `log-level = "debug"`, `:3: log-level: unknown key; did you mean log_level?`},
		{"a key whose end is missing", `listener "tcp" { address = "a:1" tls_disable = 1 tls_cert = "x" }`,
			`:3: listener.tcp.tls_cert: unknown key; did you mean tls_cert_file?`},
		{"a listener's key on top", `tls_disable = true`, `:3: tls_disable: unknown key; it belongs in listener "tcp" { … }`},
		{"a top key in a listener", `listener "tcp" { address = "a:1" tls_disable = 1 api_addr = "http://a" }`,
			`:3: listener.tcp.api_addr: unknown key; it belongs outside of all blocks`},
		{"a key of the lockout on top", `lockout_threshold = 3`, `:3: lockout_threshold: unknown key; it belongs in user_lockout "all"`},
		{"a key that nobody knows", `colour = "blue"`, `:3: colour: unknown key`},
		// Stanzas.
		{"a number for a mode", `listener "unix" { address = "/s" socket_mode = 0660 }`,
			`:3: listener.unix.socket_mode: write the mode in quotes, such as "0660"`},
		{"a mode that is none", `listener "unix" { address = "/s" socket_mode = "rw" }`, `expected an octal mode such as "0660", got "rw"`},
		{"a mode without the owner", `listener "unix" { address = "/s" socket_mode = "0066" }`, `the owner needs to read and write`},
		{"an unknown group", `listener "unix" { address = "/s" socket_group = "no such group" }`,
			`:3: listener.unix.socket_group: group: unknown group no such group`},
		{"a socket without a path", `listener "unix" {}`, `:3: listener.unix.address: required: the path of the socket`},
		{"OpenBao's initialisation", `initialize "x" { request "y" {} }`,
			`:3: initialize: a server does not initialise itself: remove the stanza, run "vault operator init" once`},
		{"an audit device without a path", `audit "file" { options { file_path = "x" } }`, `:3: audit: expected a type and a path`},
		{"two audit devices of one name", "audit \"file\" \"x\" {}\naudit \"file\" \"x\" {}",
			`:4: audit.file.x: declared twice; first on line 3`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HOME", "/home/me")
			path := write(t, "bad.hcl", "storage \"inmem\" {}\nlistener \"tcp\" { tls_disable = true }\n"+test.text+"\n")
			_, _, err := Load([]string{path}, noEnv)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("Load: %v, want ErrInvalid", err)
			}
			text := strings.TrimPrefix(err.Error(), path)
			if !strings.Contains(text, test.want) {
				t.Errorf("error\n%s\ndoes not say\n%s", text, test.want)
			}
			if strings.Contains(text, "\n") && !strings.Contains(test.name, "certificate") {
				t.Errorf("one mistake, several errors:\n%s", text)
			}
		})
	}
}

// A mistake in a stanza is one error: that the stanza is missing would be another, false one.
func TestStorageMistakes(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "coffer.db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const listener = "listener \"tcp\" { tls_disable = true }\n"
	for _, test := range []struct{ name, text, want string }{
		{"raft", listener + `storage "raft" { path = "/x" node_id = "a" }`,
			`:2: storage.raft: unsupported storage; coffer supports "bolt", "file" and "inmem". One node needs no raft: ` +
				`write storage "file" { path = "…" } with a folder that does not hold Vault's data`},
		{"consul", listener + `storage "consul" {}`, `All data is in one file: write storage "file" { path = "/var/lib/coffer" }`},
		{"no path", listener + `storage "file" {}`, `:2: storage.file.path: required: the folder in which coffer keeps coffer.db`},
		{"the data file", listener + `storage "file" { path = "` + file + `" }`,
			`:2: storage.file.path: expected a folder, not the file in it; write path = "` + folder + `"`},
		{"a data file that is not there", listener + `storage "file" { path = "/does/not/exist/coffer.db" }`,
			`:2: storage.file.path: expected a folder, not the file in it; write path = "/does/not/exist"`},
		{"another file", listener + `storage "file" { path = "testdata/cert.pem" }`, `expected a folder, not the file in it; write path = "testdata"`},
		{"the home", listener + `storage "file" { path = "~/data" }`, `:2: storage.file.path: "~" is expanded by shells alone`},
		{"$HOME", listener + `storage "file" { path = "$HOME/data" }`, `:2: storage.file.path: variables are not expanded`},
		{"a listener of another type", "storage \"inmem\" {}\nlistener \"udp\" {}", `:2: listener.udp: unsupported listener type`},
		{"no label", listener + `storage { path = "/x" }`, `:2: storage: expected a type, as in`},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, "bad.hcl", test.text+"\n")
			_, _, err := Load([]string{path}, noEnv)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error\n%v\nis not the one\n%s", err, test.want)
			}
		})
	}
}

// Files of other encodings are refused with what to do; a byte order mark of UTF-8 says nothing.
func TestEncodings(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"UTF-8 with a mark", utf8BOM + minimal, ""},
		{"JSON with a mark", utf8BOM + `{"storage": {"inmem": {}}, "listener": {"tcp": {"tls_disable": true}}}`, ""},
		{"UTF-16, little end first", "\xff\xfeu\x00i\x00", ":1: the file is UTF-16"},
		{"UTF-16, big end first", "\xfe\xff\x00u\x00i", ":1: the file is UTF-16"},
		{"UTF-16 without a mark", "u\x00i\x00", ":1: the file is UTF-16"},
		{"Latin-1", minimal + "# f\xfcr\n", ":4: a byte that is no UTF-8"},
		{"binary", minimal + "\x00\n", ":4: a NUL byte; this is no text file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := Load([]string{write(t, "a.hcl", test.text)}, noEnv)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}

// The mistakes that people make in JSON are told in the same way.
func TestJSONMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"ui\": true,\n}":                       ": a comma before the } must go",
		"{\n\"telemetry\": [{},]\n}":                ": a comma before the ] must go",
		"{\n\"ui\": true\n\"pid_file\": \"x\"}":     ": a comma is missing before it",
		"{\n\"ui\" true}":                           `: a ":" is missing after the key`,
		"{\n// yes\n\"ui\": true}":                  ": JSON has no comments",
		"{\n# yes\n\"ui\": true}":                   ": JSON has no comments",
		"{\n'ui': true}":                            `: texts stand in double quotes; write " in place of '`,
		"{\n\u201cui\u201d: true}":                  ": probably typographic quotes",
		"{\n\u00a0\"ui\": true}":                    ": a space that is none of ASCII",
		"{\nui: true}":                              `: keys stand in double quotes; write "key": …`,
		"{\n\"pid_file\": /x}":                      ": JSON has no comments",
		"{\n\"ui\": yes}":                           `: texts stand in double quotes; write "…"`,
		"{\n\"ui\": True}":                          `: texts stand in double quotes; write "…"`,
		"{\n\"ui\": tru}":                           ": the values without quotes are numbers, true, false and null",
		"{\n\"storage\": {\"file\": {\"path\": }}}": ": a comma before the } must go, or a value is missing",
	} {
		_, _, err := Load([]string{write(t, "a.json", text)}, noEnv)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a.json:") {
			t.Errorf("%s\nis answered by %v, want %s", text, err, want)
		}
	}
}

// No hint repeats a value: it may be a key.
func TestHintsShowNoValue(t *testing.T) {
	for _, line := range []string{
		`current_key = hunter2`, `current_key = 'hunter2'`, `current_key = “hunter2”`, `current_key: hunter2`,
		`current_key = "hunter2`, `current_key == "hunter2"`, `current_key "hunter2"`, `current_key = hunter2()`,
		`current_key = "hunter2";`, `current_key = /hunter2`, `current_key = "hunter2\q"`,
	} {
		_, _, err := Load([]string{write(t, "a.hcl", minimal+"seal \"static\" {\n"+line+"\n}\n")}, noEnv)
		if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Keys of other storages stay behind when only the stanza's name is changed.
func TestForeignStorageKeys(t *testing.T) {
	path := write(t, "a.hcl", "listener \"tcp\" { tls_disable = true }\nstorage \"file\" {\n  path = \"testdata/empty\"\n"+
		"  node_id = \"node1\"\n  retry_join {\n    leader_api_addr = \"x\"\n  }\n  retry_join {}\n}\n")
	_, warnings, err := Load([]string{path}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, strings.TrimPrefix(w.String(), path))
	}
	const reason = ": belongs to another storage of Vault and has no effect here; remove it"
	compare(t, got, []string{":4: storage.file.node_id" + reason, ":5: storage.file.retry_join" + reason})
}

// What fails only when it is used is told with the place where it stands.
func TestPlaces(t *testing.T) {
	path := write(t, "a.hcl", `storage "file" {
  path = "testdata/empty"
}
listener "tcp" {
  address       = "127.0.0.1:1"
  tls_cert_file = "testdata/cert.pem"
  tls_key_file  = "testdata/key.pem"
}
listener "unix" {
  address     = "/run/x"
  socket_mode = "0660"
}
seal "static" {
  current_key_id = "1"
  current_key    = "file:///k"
}
audit "file" "a" {
  description = "d"
  options {
    file_path = "stdout"
    log_raw   = false
  }
}
`)
	c, _, err := Load([]string{path}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range []Place{c.Storage.Place, c.Listeners[0].Place, c.Listeners[0].TLS.Place, c.Listeners[1].Place,
		c.Seal.Current.Place, c.Audit[0].Place} {
		got = append(got, fmt.Sprintf("%d %s", p.Line, p.Key))
	}
	compare(t, got, []string{"2 storage.file.path", "5 listener.tcp.address", "6 listener.tcp.tls_cert_file",
		"10 listener.unix.address", "15 seal.static.current_key", "17 audit.file.a"})
	compare(t, c.Listeners[1].Socket, &Socket{Mode: 0o660})
	compare(t, c.Audit[0].Options, map[string]string{"file_path": "stdout", "log_raw": "false"})
	failure := errors.New("broken")
	wrapped := c.Storage.Place.Error(failure)
	if !errors.Is(wrapped, ErrInvalid) || !errors.Is(wrapped, failure) ||
		wrapped.Error() != path+":2: storage.file.path: broken" {
		t.Errorf("error %v", wrapped)
	}
}

// The two forms of JSON, and lists of stanzas.
func TestAuditJSON(t *testing.T) {
	for _, text := range []string{
		`{"audit": {"file": {"a": {"options": {"file_path": "x"}}, "b": {}}}}`,
		`{"audit": [{"file": [{"a": [{"options": {"file_path": "x"}}]}]}, {"file": {"b": {}}}]}`,
	} {
		c, _, err := Load([]string{write(t, "m.hcl", minimal), write(t, "a.json", text)}, noEnv)
		if err != nil || len(c.Audit) != 2 {
			t.Fatalf("%s: %v", text, err)
		}
		if a, b := c.Audit[0], c.Audit[1]; a.Path != "a" || a.Options["file_path"] != "x" || b.Path != "b" || b.Type != "file" {
			t.Errorf("%s: %+v", text, c.Audit)
		}
	}
}
