package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"coffer/engines"
	"coffer/server/sys"
	"coffer/storage/memory"
)

// TestRefusedOptions holds the texts of Vault 1.21.2 to `vault audit enable`.
func TestRefusedOptions(t *testing.T) {
	const create = "unable to create new audit backend: "
	tests := []struct {
		kind    string
		options map[string]string
		want    string
	}{
		{"zork", nil, `unknown backend type: "zork": invalid configuration`},
		{"", nil, `unknown backend type: "": invalid configuration`},
		{"file", nil, create + `"file_path" is required: invalid configuration`},
		{"file", map[string]string{"file_path": "  "}, create + `"file_path" is required: invalid configuration`},
		{"file", map[string]string{"file_path": "x", "format": "xml"},
			create + `unsupported "format": invalid configuration`},
		{"file", map[string]string{"file_path": "x", "mode": "abc"}, create + "invalid mode: abc"},
		{"file", map[string]string{"file_path": "x", "mode": "0755"}, create + "file mode may not be executable: 0755"},
		{"file", map[string]string{"file_path": "x", "mode": "0601"}, create + "file mode may not be executable: 0601"},
		{"file", map[string]string{"file_path": "x", "mode": "04600"}, create + "invalid mode: 04600"},
		{"file", map[string]string{"file_path": "x", "log_raw": "zz"},
			create + `unable to parse "log_raw": invalid configuration`},
		{"file", map[string]string{"file_path": "x", "hmac_accessor": ""},
			create + `unable to parse "hmac_accessor": invalid configuration`},
		{"file", map[string]string{"file_path": "x", "elide_list_responses": "zz"},
			create + `unable to parse "elide_list_responses": invalid configuration`},
		{"file", map[string]string{"file_path": "x", "prefix": "@cee: "}, "audit prefixing is not enabled in " +
			"configuration, audit prefixing may not be configured for file sinks"},
		{"file", map[string]string{"file_path": "x", "filter": "a"},
			"enterprise-only options supplied: invalid configuration"},
		{"file", map[string]string{"file_path": "a\nb"}, create + `"file_path" has control characters or is too long: ` +
			"invalid configuration"},
	}
	b := newBroker(memory.New())
	for _, tt := range tests {
		err := b.Enable(t.Context(), sys.AuditDevice{Path: "f/", Type: tt.kind, Options: tt.options})
		if !errors.Is(err, engines.ErrInvalid) || err.Error() != tt.want {
			t.Errorf("%s %v: error %v, want %s", tt.kind, tt.options, err, tt.want)
		}
	}
	if b.Enabled() {
		t.Error("a refused device is enabled")
	}
}

func TestPrefixInjectsNoLines(t *testing.T) {
	b := New(Config{Storage: memory.New(), Logger: slog.New(slog.DiscardHandler), AllowPrefix: true})
	for _, prefix := range []string{"a\nb", "a\r", "\x00", strings.Repeat("x", maxPrefixLength+1)} {
		err := b.Enable(t.Context(), sys.AuditDevice{
			Path: "f/", Type: "file", Options: map[string]string{"file_path": "discard", "prefix": prefix},
		})
		if !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("prefix %q: error %v", prefix, err)
		}
	}
}

func TestPathsOfDevices(t *testing.T) {
	b := newBroker(memory.New())
	defer b.Close()
	file := filepath.Join(t.TempDir(), "audit.log")
	enable(t, b, "a/b/", map[string]string{"file_path": file})
	refused := map[string]string{
		"a/b/": "discard", "a/": "discard", "a/b/c/": "discard", "": "discard", "/": "discard", "x": "discard",
		"../": "discard", "x/../y/": "discard", "x//y/": "discard", "x\n/": "discard", "./": "discard",
		strings.Repeat("x", maxDevicePath) + "/": "discard",
		"same/":                                  filepath.Dir(file) + "/./audit.log",
	}
	for path, file := range refused {
		options := map[string]string{"file_path": file}
		err := b.Enable(t.Context(), sys.AuditDevice{Path: path, Type: "file", Options: options})
		if !errors.Is(err, engines.ErrInvalid) {
			t.Errorf("path %q: error %v, want ErrInvalid", path, err)
		}
	}
	for i := 1; i < maxDevices; i++ {
		enable(t, b, strings.Repeat("x", i)+"/", map[string]string{"file_path": "/dev/null"})
	}
	err := b.Enable(t.Context(), sys.AuditDevice{
		Path: "last/", Type: "file", Options: map[string]string{"path": "discard"},
	})
	if !errors.Is(err, engines.ErrInvalid) {
		t.Errorf("device %d: error %v", maxDevices+1, err)
	}
}

// TestForeignFiles: whoever may enable devices must not reach any other file through them.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode fs.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log := write("log", `{"auth":{}}`+"\n", 0o600)
	link, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.Symlink(log, link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"an executable":      write("exe", "", 0o700),
		"an executable log":  write("exelog", `{"auth":{}}`, 0o610),
		"a script":           write("script", "#!/bin/sh\n", 0o600),
		"a password file":    write("passwd", "root:x:0:0\n", 0o600),
		"other JSON":         write("json", `{"name":"x"}`, 0o600),
		"a short file":       write("short", "{", 0o600),
		"a log with prefix":  write("prefixed", `@cee: {"auth":{}}`, 0o600),
		"a link":             link,
		"a pipe":             pipe,
		"a folder":           dir,
		"a device":           "/dev/zero",
		"a file as a folder": filepath.Join(log, "x"),
	}
	b := newBroker(memory.New())
	defer b.Close()
	for what, file := range files {
		before, _ := os.Lstat(file)
		err := b.Enable(t.Context(), sys.AuditDevice{
			Path: "f/", Type: "file", Options: map[string]string{"file_path": file, "mode": "0644"},
		})
		if !errors.Is(err, engines.ErrInvalid) || b.Enabled() {
			t.Errorf("%s: error %v, want ErrInvalid", what, err)
		}
		after, _ := os.Lstat(file)
		if before != nil && (after.Mode() != before.Mode() || after.Size() != before.Size()) {
			t.Errorf("%s was changed from %v to %v", what, before.Mode(), after.Mode())
		}
	}
	enable(t, b, "f/", map[string]string{"file_path": log})
	if err := b.LogRequest(t.Context(), testEntry()); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, b, "f/", log); len(got) != 2 || got[0] != `{"auth":{}}` {
		t.Errorf("an old log was not continued: %q", got)
	}
}

// The folders of a new device's log are made, for the server alone.
func TestFoldersAreMade(t *testing.T) {
	dir := t.TempDir()
	b := newBroker(memory.New())
	defer b.Close()
	log := filepath.Join(dir, "no", "where", "audit.log")
	enable(t, b, "f/", map[string]string{"file_path": log})
	if err := b.LogRequest(t.Context(), testEntry()); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{filepath.Dir(log), filepath.Join(dir, "no")} {
		info, err := os.Stat(made)
		if err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", made, info, err)
		}
	}
}

func TestModes(t *testing.T) {
	dir := t.TempDir()
	b := newBroker(memory.New())
	defer b.Close()
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		file, mode string
		want       fs.FileMode
	}{
		{filepath.Join(dir, "a"), "", 0o600}, {filepath.Join(dir, "b"), "0640", 0o640},
		{filepath.Join(dir, "c"), "666", 0o666}, {filepath.Join(dir, "d"), "0000", 0o600}, {old, "0000", 0o640},
	}
	for i, tt := range tests {
		options := map[string]string{"file_path": tt.file}
		if tt.mode != "" {
			options["mode"] = tt.mode
		}
		enable(t, b, strings.Repeat("x", i+1)+"/", options)
		info, err := os.Stat(tt.file)
		if err != nil || info.Mode() != tt.want {
			t.Errorf("mode %q: %v, %v, want %v", tt.mode, info.Mode(), err, tt.want)
		}
	}
}

// TestUnopenableDevice: a device whose file is gone keeps requests from passing unrecorded, and works again
// when the file can be opened.
func TestUnopenableDevice(t *testing.T) {
	store, dir := memory.New(), filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBroker(store)
	enable(t, b, "f/", map[string]string{"file_path": filepath.Join(dir, "audit.log")})
	b.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	again := newBroker(store)
	defer again.Close()
	if err := again.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.LogRequest(t.Context(), testEntry()); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("error %v, want ErrNotRecorded", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := again.LogRequest(t.Context(), testEntry()); err != nil {
		t.Errorf("after the folder is back: %v", err)
	}
}

// TestHash is the definition: RFC 2104 with SHA-256 (RFC 4231, test case 2, has this key and text).
func TestHash(t *testing.T) {
	const want = "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	h := newHasher([]byte("Jefe"))
	for range 2 {
		if got := h.text("what do ya want for nothing?"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	mac := hmac.New(sha256.New, []byte("k"))
	if got := newHasher([]byte("k")).text(""); got != hashPrefix+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("hash of the empty text: %s", got)
	}
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"path":"f/","type":"file","options":{"file_path":"discard"},"key":"` +
		strings.Repeat("A", 43) + `="}]`))
	f.Add([]byte(`[null]`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, err := decodeRecords(text)
		for _, r := range records {
			if len(r.Key) != keySize || !strings.HasSuffix(r.Path, "/") {
				t.Errorf("record %q was accepted, error %v", r.Path, err)
			}
		}
	})
}

// FuzzFormat: whatever a client sends becomes one line of JSON, without the client's texts.
func FuzzFormat(f *testing.F) {
	f.Add([]byte(`{"a":["canary",{"b":"canary"}],"c":1.5,"d":null}`), "sec\nret", "ua\n")
	f.Add([]byte(`[]`), "`id`", "\xff")
	f.Add([]byte(`"canary"`), "$(id)", "\u2028")
	d := newDevice(record{Path: "f/", Key: make([]byte, keySize)}, options{hmacAccessor: true}, nil)
	f.Fuzz(func(t *testing.T, body []byte, path, agent string) {
		e := testEntry()
		e.Path = path
		e.Request.Params = map[string]any{"body": json.RawMessage(body), "text": "canary " + path}
		e.Request.Client.Header = map[string][]string{"User-Agent": {agent}}
		line, err := d.format("request", e, headers{"user-agent": false})
		if err != nil {
			t.Fatal(err)
		}
		entry, ok := bytes.CutSuffix(line, []byte("\n"))
		if !ok || bytes.ContainsAny(entry, "\n\r$`") || !json.Valid(entry) {
			t.Errorf("not one line of JSON: %q", line)
		}
		if bytes.Contains(line, []byte(`"canary `)) {
			t.Errorf("a text of the body shows: %s", line)
		}
		if checkLog(bytes.NewReader(line), "") != nil {
			t.Errorf("the log would not be taken for one: %s", line)
		}
	})
}

func BenchmarkLogRequest(b *testing.B) {
	broker := newBroker(memory.New())
	defer broker.Close()
	enable(b, broker, "f/", map[string]string{"file_path": filepath.Join(b.TempDir(), "audit.log")})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := testEntry()
		for pb.Next() {
			if err := broker.LogRequest(b.Context(), e); err != nil {
				b.Error(err)
			}
		}
	})
}
