package jwt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"time"
)

// states puts what is known of a login into the state that goes through the browser, encrypted and authenticated with a
// key that only this mount has. Logins that begin therefore cost no memory. The key is made anew with the mount's
// engine: sealing ends all logins under way.
type states struct {
	aead cipher.AEAD
	key  []byte // of derive
}

func newStates() (*states, error) {
	keys := make([]byte, 2*sha256.Size)
	_, _ = rand.Read(keys) // It never fails.
	block, err := aes.NewCipher(keys[:sha256.Size])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &states{aead: aead, key: keys[sha256.Size:]}, err
}

// What is sealed, as additional data: one kind never serves as the other.
const (
	kindState = "state"
	kindForm  = "form"
)

const (
	// maxState bounds a state, in bytes, so that providers and servers on the way take the address it is in.
	maxState = 2 << 10
	// maxTicket bounds a ticket, which the browser brings back in an address.
	maxTicket = 24 << 10
)

// sealedFlow is a flow inside a state. Its nonce and verifier follow from the id.
type sealedFlow struct {
	ID       []byte        `json:"i"`
	Role     string        `json:"r"`
	Redirect string        `json:"u,omitempty"`
	Provider string        `json:"p"`
	Proof    string        `json:"c,omitempty"`
	Mode     string        `json:"m,omitempty"`
	Verified bool          `json:"v,omitempty"`
	From     netip.Addr    `json:"f"`
	Expires  int64         `json:"e"` // Unix time in seconds
	Device   string        `json:"d,omitempty"`
	Interval time.Duration `json:"n,omitempty"`
}

var errStateSize = errors.New("role, redirect_uri and what the provider wants are too long together")

// seal gives the flow its state.
func (s *states) seal(w *flow) (err error) {
	w.state, err = s.sealAs(kindState, sealedFlow{
		ID: []byte(w.id), Role: w.role, Redirect: w.redirect, Provider: w.provider, Proof: w.proof, Mode: w.mode,
		Verified: w.verifier != "", From: w.from, Expires: w.expires.Unix(), Device: w.device, Interval: w.interval,
	})
	if err == nil && len(w.state) > maxState {
		err = errStateSize
	}
	return err
}

func (s *states) sealAs(kind string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sealed := s.aead.Seal(nil, nil, text, []byte(kind)) //nolint:gosec // it takes a random nonce itself
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// openAs decodes what sealAs made, or reports false.
func (s *states) openAs(kind, sealed string, into any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return false
	}
	text, err := s.aead.Open(nil, nil, raw, []byte(kind))
	return err == nil && json.Unmarshal(text, into) == nil
}

// open returns the flow of a state, which may have expired.
func (s *states) open(state string) (*flow, bool) {
	var f sealedFlow
	if len(state) > maxState || !s.openAs(kindState, state, &f) {
		return nil, false
	}
	w := &flow{
		id: string(f.ID), state: state, role: f.Role, redirect: f.Redirect, provider: f.Provider, proof: f.Proof,
		mode: f.Mode, from: f.From, expires: time.Unix(f.Expires, 0), device: f.Device, interval: f.Interval,
	}
	s.complete(w, f.Verified)
	return w, true
}

// complete derives what follows from the id.
func (s *states) complete(w *flow, verified bool) {
	if w.mode != callbackDevice { // where no browser brings the provider a nonce
		w.nonce = s.derive("nonce", w.id)
	}
	if verified {
		w.verifier = s.derive("verifier", w.id)
	}
}

// derive is 256 bits that follow from a text and nobody else can know, in 43 characters: as a verifier of RFC 7636 must
// be.
func (s *states) derive(purpose, text string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(purpose + "\x00" + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// proofOf is what is kept of a client_nonce; "" for none.
func (s *states) proofOf(nonce string) string {
	if nonce == "" {
		return ""
	}
	return s.derive("client", nonce)
}

// ticket is a form of the provider's, sealed for the page that it led to.
type ticket struct {
	ID      []byte `json:"i"`
	Code    string `json:"c,omitempty"`
	IDToken string `json:"t,omitempty"`
}

func (s *states) sealForm(w *flow, got brought) (string, error) {
	return s.sealAs(kindForm, ticket{ID: []byte(w.id), Code: got.code, IDToken: got.idToken})
}

// openForm returns the form in a ticket of this flow.
func (s *states) openForm(w *flow, sealed string) (brought, bool) {
	var t ticket
	if !s.openAs(kindForm, sealed, &t) || string(t.ID) != w.id {
		return brought{}, false
	}
	return brought{code: t.Code, idToken: t.IDToken}, true
}
