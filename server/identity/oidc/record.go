package oidc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"coffer/storage"
)

// errCorrupt is returned for a record that is not one of ours.
var errCorrupt = fmt.Errorf("oidc: corrupt record: %w", storage.ErrDamaged)

// recordVersion is the first byte of what the store writes; what follows is JSON.
const recordVersion = 1

// configRecord is the configuration.
type configRecord struct {
	Issuer string `json:"issuer,omitempty"`
}

// namedKey is a key with those that came before it and the one that comes next. Keys in the store are never
// changed in place.
type namedKey struct {
	Name      string        `json:"-"`
	Algorithm string        `json:"alg"`
	Rotation  time.Duration `json:"rot"`
	// Verification is how long a key is published once it signs no more.
	Verification time.Duration `json:"ver"`
	Clients      []string      `json:"clients,omitempty"`
	// Signing and Next are private; nil for a key that was never needed.
	Signing *jose.JSONWebKey `json:"signing,omitempty"`
	Next    *jose.JSONWebKey `json:"next,omitempty"`
	// Due is when Next has to take the place of Signing.
	Due time.Time `json:"due,omitzero"`
	// Retired are public keys that no longer sign.
	Retired []retiredKey `json:"retired,omitempty"`
}

type retiredKey struct {
	Key     jose.JSONWebKey `json:"key"`
	Expires time.Time       `json:"exp"`
}

// role says which key signs the tokens of those who may use it, and what they claim.
type role struct {
	Name     string        `json:"-"`
	Key      string        `json:"key"`
	Client   string        `json:"client"`
	Template string        `json:"tpl,omitempty"`
	TTL      time.Duration `json:"ttl"`
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("oidc: encode: %w", err)
	}
	return append([]byte{recordVersion}, b...), nil
}

func decode(key string, b []byte, into any) error {
	if len(b) == 0 || b[0] != recordVersion || !bytes.HasPrefix(b[1:], []byte("{")) {
		return fmt.Errorf("%w: %s", errCorrupt, key)
	}
	if err := json.Unmarshal(b[1:], into); err != nil {
		return fmt.Errorf("%w: %s", errCorrupt, key) // the cause may quote the key
	}
	return nil
}

func decodeKey(name string, b []byte) (*namedKey, error) {
	k := &namedKey{}
	if err := decode(keyFolder+name, b, k); err != nil {
		return nil, err
	}
	k.Name = name
	_, known := algorithms[k.Algorithm]
	valid := known && k.Rotation > 0 && k.Verification >= 0 && (k.Signing == nil) == (k.Next == nil)
	if k.Signing != nil {
		valid = valid && private(k.Signing) && private(k.Next)
	}
	for i := range k.Retired {
		valid = valid && k.Retired[i].Key.Valid() && k.Retired[i].Key.IsPublic()
	}
	if !valid {
		return nil, fmt.Errorf("%w: %s%s", errCorrupt, keyFolder, name)
	}
	return k, nil
}

// private reports whether a key can sign with one of our algorithms.
func private(k *jose.JSONWebKey) bool {
	_, known := algorithms[k.Algorithm]
	return known && k.Valid() && !k.IsPublic() && k.KeyID != ""
}

func decodeRole(name string, b []byte) (*role, error) {
	r := &role{}
	if err := decode(roleFolder+name, b, r); err != nil {
		return nil, err
	}
	r.Name = name
	if r.Key == "" || r.Client == "" || r.TTL < 0 {
		return nil, fmt.Errorf("%w: %s%s", errCorrupt, roleFolder, name)
	}
	return r, nil
}
