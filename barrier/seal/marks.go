package seal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"coffer/barrier/secret"
)

// markSize is the length of a salt and of a mark in bytes.
const markSize = sha256.Size

// Marks tell a share of the operators' key from anything else, one share at a time: a wrong one is found without
// combining it with others. Each is the HMAC-SHA-256 (RFC 2104) of a share under a salt.
//
// They are stored in clear. Whoever has all but one of the shares that are needed still has to guess the 256 random
// bits of the last one, as he would have to guess the key itself.
type Marks struct {
	Salt []byte   `json:"salt"`
	Sums [][]byte `json:"sums"`
}

// NewMarks returns the marks of shares, under a new salt.
func NewMarks(shares []secret.Key) *Marks {
	m := &Marks{Salt: make([]byte, markSize), Sums: make([][]byte, len(shares))}
	_, _ = rand.Read(m.Salt) // never returns an error
	for i, share := range shares {
		m.Sums[i] = m.sum(share)
	}
	return m
}

func (m *Marks) sum(share secret.Key) []byte {
	mac := hmac.New(sha256.New, m.Salt)
	mac.Write(share.Reveal())
	return mac.Sum(nil)
}

// Fit reports whether share is one of those marked. Without marks (nil) every share may be one.
func (m *Marks) Fit(share secret.Key) bool {
	if m == nil {
		return true
	}
	sum, fits := m.sum(share), false
	for _, mark := range m.Sums {
		fits = hmac.Equal(mark, sum) || fits
	}
	return fits
}

// validate returns ErrInvalidConfig for marks that are not those of so many shares.
func (m *Marks) validate(shares int) error {
	if m == nil {
		return nil
	}
	if len(m.Salt) != markSize || len(m.Sums) != shares {
		return fmt.Errorf("%w: the marks are not those of %d shares", ErrInvalidConfig, shares)
	}
	for _, mark := range m.Sums {
		if len(mark) != markSize {
			return fmt.Errorf("%w: a mark of %d bytes", ErrInvalidConfig, len(mark))
		}
	}
	return nil
}
