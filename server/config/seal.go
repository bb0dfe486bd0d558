package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"coffer/barrier/seal"
	"coffer/barrier/secret"
)

const supportedSeals = `coffer supports "shamir" and "static"`

// decodeSeal reads the seal stanzas, of which one may be enabled. Disabled ones are those that a migration
// leaves behind, or that it begins with: the recovery keys open the data, so their keys are not needed.
func decodeSeal(top *scope, dst *Seal) {
	stanzas := append(top.labelled("seal"), top.labelled("kms")...)
	for _, s := range top.labelled("hsm") {
		s.report.fail(s.pos, s.path, "unsupported seal; %s", supportedSeals)
	}
	found := false
	for _, s := range stanzas {
		decoded, disabled := decodeSealStanza(s)
		switch {
		case decoded.Type == "":
		case disabled:
			s.report.warn(s.pos, s.path, "is disabled and ignored")
		case found:
			s.report.fail(s.pos, s.path, "only one seal can be enabled")
		default:
			found = true
			*dst = decoded
		}
	}
}

// decodeSealStanza returns a seal without a type when the stanza is wrong.
func decodeSealStanza(s *scope) (decoded Seal, disabled bool) {
	decoded.Type = s.label
	s.boolean("disabled", &disabled)
	s.ignore("name", "priority", "purpose")
	switch s.label {
	case seal.TypeShamir:
	case seal.TypeStatic:
		decoded.Current = s.sealKey("current_key")
		decoded.Previous = s.sealKey("previous_key")
		if disabled {
			break
		}
		if decoded.Current.ID == "" {
			s.fail("current_key_id", "required: a name of your choice for the key, such as a date")
		}
		if decoded.Current.missing() {
			s.fail("current_key", "required, such as %q", "file:///etc/coffer/seal.key")
		}
		if (decoded.Previous.ID == "") != decoded.Previous.missing() {
			s.fail("previous_key", "previous_key and previous_key_id go together")
		}
		if decoded.Previous.ID != "" && decoded.Previous.ID == decoded.Current.ID {
			s.fail("previous_key_id", "is the id of the current key too; another key needs another id")
		}
	default:
		s.report.fail(s.pos, s.path, "unsupported seal; %s", supportedSeals)
		return Seal{}, disabled
	}
	s.finish()
	return decoded, disabled
}

// sealKey reads key and key_id. Of what is wrong with a key's value, no message shows the value.
func (s *scope) sealKey(key string) SealKey {
	var k SealKey
	s.str(key+"_id", &k.ID)
	if len(k.ID) > seal.MaxKeyID || strings.IndexFunc(k.ID, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		s.fail(key+"_id", "at most %d printable characters", seal.MaxKeyID)
	}
	var text string
	s.str(key, &text)
	k.Place = Place{s.place(key), s.name(key)}
	path, isFile := strings.CutPrefix(text, "file://")
	name, isEnv := strings.CutPrefix(text, "env://")
	switch {
	case text == "":
	case isFile && path == "":
		s.fail(key, "expected a path, such as %q", "file:///etc/coffer/seal.key")
	case isFile && CheckPath(path) != nil:
		s.fail(key, "%v", CheckPath(path))
		k.File = path // Not absent: the one message about it is enough.
	case isFile:
		k.File = path
	case isEnv && name == "":
		s.fail(key, "expected the name of a variable, such as %q", "env://COFFER_SEAL_KEY")
	case isEnv:
		k.Env = name
	default:
		var err error
		if k.Inline, err = seal.ParseKey([]byte(text)); err != nil {
			s.fail(key, "%v, or a place, such as %q or %q", err, "file:///etc/coffer/seal.key", "env://COFFER_SEAL_KEY")
			// Not absent: the one message about it is enough.
			k.Inline = secret.New([]byte{0})
		}
	}
	return k
}

func (k SealKey) missing() bool { return k.File == "" && k.Env == "" && k.Inline.Len() == 0 }

// errNoVariable is returned for a variable of the environment that is not set.
var errNoVariable = errors.New("the variable is not set")

// Load returns the key, for the caller to zero. Its errors name the file or the variable and show nothing of the
// key.
func (k SealKey) Load(env func(string) string) (secret.Key, error) {
	switch {
	case k.File != "":
		return loadKeyFile(k.File)
	case k.Env != "":
		text := env(k.Env)
		if text == "" {
			return secret.Key{}, fmt.Errorf("%s: %w", k.Env, errNoVariable)
		}
		key, err := seal.ParseKey([]byte(text))
		if err != nil {
			return secret.Key{}, fmt.Errorf("%s: %w", k.Env, err)
		}
		return key, nil
	default:
		return k.Inline.Clone(), nil
	}
}

// errNotAFile is returned for a key in a folder, a pipe or a device: reading those may never end, and then nobody
// could unseal by hand either.
var errNotAFile = errors.New("not a regular file")

func loadKeyFile(path string) (key secret.Key, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret.Key{}, err
	}
	if !info.Mode().IsRegular() {
		return secret.Key{}, fmt.Errorf("%s: %w", path, errNotAFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return secret.Key{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content := make([]byte, seal.MaxKeyText+1)
	defer clear(content)
	n, err := io.ReadFull(f, content)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return secret.Key{}, err
	}
	if key, err = seal.ParseKeyFile(content[:n]); err != nil {
		return secret.Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
