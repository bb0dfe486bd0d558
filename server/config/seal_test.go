package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
)

const keyInHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func decodeText(t *testing.T, text string) (*Config, *report) {
	t.Helper()
	entries, err := parse("a.hcl", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	rep := &report{}
	return decode(entries, Position{File: "a.hcl"}, rep), rep
}

func TestStaticSeal(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i)
	}
	file := filepath.Join(t.TempDir(), "seal.key")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return map[string]string{"SEAL_KEY": keyInHex + "\n"}[name] }
	for name, place := range map[string]string{
		"file": "file://" + file, "variable": "env://SEAL_KEY", "hex": keyInHex, "upper case": strings.ToUpper(keyInHex),
		"base64": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
	} {
		t.Run(name, func(t *testing.T) {
			c, rep := decodeText(t, fmt.Sprintf("seal \"static\" {\n  current_key_id = \"new\"\n  current_key = %q\n"+
				"  previous_key_id = \"old\"\n  previous_key = %q\n  name = \"x\"\n}\n", place, place))
			if rep.err() != nil || len(rep.warnings) != 1 {
				t.Fatalf("errors %v, warnings %v", rep.err(), rep.warnings)
			}
			if c.Seal.Type != seal.TypeStatic || c.Seal.Current.ID != "new" || c.Seal.Previous.ID != "old" {
				t.Errorf("seal %+v", c.Seal)
			}
			for _, k := range []SealKey{c.Seal.Current, c.Seal.Previous} {
				if key, err := k.Load(env); err != nil || !key.Equal(secret.New(raw)) {
					t.Errorf("%s: another key, %v", k.ID, err)
				}
			}
			if shown := fmt.Sprintf("%+v %#v", c.Seal, c); strings.Contains(shown, keyInHex) || strings.Contains(shown, "AAEC") {
				t.Error("the key is shown")
			}
		})
	}
}

// TestKeyThatCannotBeHad: it is no error of the configuration, so that the server starts and the recovery keys
// can open it.
func TestKeyThatCannotBeHad(t *testing.T) {
	folder := t.TempDir()
	short := filepath.Join(folder, "short")
	if err := os.WriteFile(short, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(folder, "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("hunter2", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return map[string]string{"SHORT": "hunter2"}[name] }
	for _, test := range []struct {
		key  SealKey
		want error
		text string
	}{
		{SealKey{File: filepath.Join(folder, "none")}, fs.ErrNotExist, "none"},
		{SealKey{File: short}, seal.ErrKeyText, "got 7 characters"},
		{SealKey{File: long}, seal.ErrKeyText, "got more than 1024 bytes"},
		{SealKey{File: folder}, errNotAFile, folder},
		{SealKey{File: pipe}, errNotAFile, pipe},
		{SealKey{Env: "UNSET"}, errNoVariable, "UNSET"},
		{SealKey{Env: "SHORT"}, seal.ErrKeyText, "SHORT: "},
	} {
		_, err := test.key.Load(env)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%+v: %v", test.key, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestDisabledStaticSealIsShamir(t *testing.T) {
	c, rep := decodeText(t, "seal \"static\" {\n  disabled = true\n  current_key_id = \"k\"\n  current_key = \"file:///gone\"\n}\n")
	if rep.err() != nil || len(rep.warnings) != 1 || c.Seal.Type != seal.TypeShamir {
		t.Errorf("seal %+v, errors %v, warnings %v", c.Seal, rep.err(), rep.warnings)
	}
}
