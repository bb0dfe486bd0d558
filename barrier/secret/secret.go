// Package secret holds key bytes so that they cannot be printed, logged or marshalled by accident.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for the bytes wherever a Key is formatted.
const redacted = "[redacted]"

// Key is secret bytes: an encryption key, a share of one, a password. Copies of a Key share the bytes, so
// that Zero reaches all of them. The zero Key is empty. Reading is safe for concurrent use; Zero is not
// safe beside other calls.
type Key struct {
	// A function returns the bytes because fmt prints unexported fields of a surrounding struct without
	// asking for their methods, and follows pointers for a verb that does not fit; of a function it
	// prints the address. It also makes == on keys an error of the compiler.
	bytes func() []byte
}

func hide(b []byte) Key { return Key{func() []byte { return b }} }

// New returns a Key with a copy of b. The caller should clear b.
func New(b []byte) Key {
	return hide(append([]byte{}, b...))
}

// Random returns a Key of n bytes from the system's random source.
func Random(n int) Key {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never returns an error: it ends the program instead
	return hide(b)
}

// Reveal returns the bytes themselves. The caller does not change them and does not keep them for longer
// than the Key. Every place where secret bytes leave their type is found by searching for this name.
func (k Key) Reveal() []byte {
	if k.bytes == nil {
		return nil
	}
	return k.bytes()
}

// Len is the number of bytes.
func (k Key) Len() int { return len(k.Reveal()) }

// Equal reports whether both keys have the same bytes, in a time that depends on their length alone.
func (k Key) Equal(other Key) bool {
	return subtle.ConstantTimeCompare(k.Reveal(), other.Reveal()) == 1
}

// Clone returns a Key with bytes of its own, which Zero of k does not reach.
func (k Key) Clone() Key { return New(k.Reveal()) }

// Zero overwrites the bytes, for all copies of the Key. The length stays.
func (k Key) Zero() { clear(k.Reveal()) }

// Format implements fmt.Formatter for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (k Key) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (k Key) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and XML.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
