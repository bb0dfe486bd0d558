package mfa

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/pquerna/otp"

	"coffer/storage"
)

// errCorrupt is returned for a record that is not one of ours.
var errCorrupt = fmt.Errorf("mfa: corrupt record: %w", storage.ErrDamaged)

// recordVersion is the first byte of what the store writes; what follows is JSON.
const recordVersion = 1

// codes is how the codes of a secret are made. A secret keeps its own: what its method says later does not change
// the codes that somebody's telephone shows.
type codes struct {
	Issuer    string `json:"issuer"`
	Period    int    `json:"period"` // seconds
	Algorithm string `json:"alg"`
	Digits    int    `json:"digits"`
	Skew      int    `json:"skew"`
	KeySize   int    `json:"key_size"`
}

func (c *codes) valid() bool {
	return algorithm(c.Algorithm) >= 0 && (c.Digits == 6 || c.Digits == 8) && c.Period > 0 && c.Period <= maxPeriod &&
		(c.Skew == 0 || c.Skew == 1)
}

// algorithm is -1 for a name that is none.
func algorithm(name string) otp.Algorithm {
	switch name {
	case "SHA1":
		return otp.AlgorithmSHA1
	case "SHA256":
		return otp.AlgorithmSHA256
	case "SHA512":
		return otp.AlgorithmSHA512
	default:
		return -1
	}
}

// method is a way to prove who one is.
type method struct {
	ID          string `json:"-"`
	Name        string `json:"name,omitempty"`
	QRSize      int    `json:"qr_size"`
	MaxAttempts int    `json:"max_attempts"`
	Codes       codes  `json:"codes"`
}

// enforcement says whose logins need one of its methods.
type enforcement struct {
	Name      string   `json:"-"`
	ID        string   `json:"id"`
	Methods   []string `json:"methods"`
	Accessors []string `json:"accessors,omitempty"`
	Types     []string `json:"types,omitempty"`
	Groups    []string `json:"groups,omitempty"`
	Entities  []string `json:"entities,omitempty"`
}

// secret is what an entity and its telephone share.
type secret struct {
	// Key is in base32.
	Key   string `json:"key"`
	Codes codes  `json:"codes"`
	// Used is the time step of the last code that was taken: neither it nor one before it is taken again.
	Used int64 `json:"used"`
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("mfa: encode: %w", err)
	}
	return append([]byte{recordVersion}, b...), nil
}

func decode(key string, b []byte, into any) error {
	if len(b) == 0 || b[0] != recordVersion || !bytes.HasPrefix(b[1:], []byte("{")) {
		return fmt.Errorf("%w: %s", errCorrupt, key)
	}
	if err := json.Unmarshal(b[1:], into); err != nil {
		return fmt.Errorf("%w: %s", errCorrupt, key)
	}
	return nil
}

func decodeMethod(id string, b []byte) (*method, error) {
	m := &method{}
	if err := decode(methodFolder+id, b, m); err != nil {
		return nil, err
	}
	m.ID = id
	if !m.Codes.valid() || m.MaxAttempts <= 0 {
		return nil, fmt.Errorf("%w: %s", errCorrupt, methodFolder+id)
	}
	return m, nil
}

func decodeEnforcement(name string, b []byte) (*enforcement, error) {
	e := &enforcement{}
	if err := decode(enforcementFolder+name, b, e); err != nil {
		return nil, err
	}
	e.Name = name
	return e, nil
}

func decodeSecret(key string, b []byte) (*secret, error) {
	s := &secret{}
	if err := decode(key, b, s); err != nil {
		return nil, err
	}
	if s.Key == "" || !s.Codes.valid() {
		return nil, fmt.Errorf("%w: %s", errCorrupt, key)
	}
	return s, nil
}
