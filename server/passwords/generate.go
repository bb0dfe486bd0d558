package passwords

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
)

// ErrRare is returned when chance does not bring a password that meets the rules within the work that one may cost.
var ErrRare = errors.New("the rules are met so seldom by chance that no password was found: " +
	"ask for fewer characters of small charsets")

const (
	// work bounds the search for one password, in characters that are drawn and counted: about a tenth of a second.
	work = 20_000_000
	// checkWork is the part of it within which a policy must bring a password to be stored.
	checkWork = work / 10
)

// Generate makes a password: all those that meet the policy are equally probable. It returns ErrRare.
func (p *Policy) Generate() (string, error) { return p.generate(rand.Read, work) }

// generate draws whole candidates until one meets the rules. Nothing of a candidate is mended, which would make some
// passwords more probable than others.
func (p *Policy) generate(read func([]byte) (int, error), budget int) (string, error) {
	d := dice{read: read}
	defer d.clear()
	d.clear()
	candidate := make([]int, p.Length)
	defer clear(candidate)
	missing := make([]int, len(p.least))
	for budget > 0 {
		copy(missing, p.least)
		for i := range candidate {
			c := d.roll(len(p.alphabet))
			candidate[i] = c
			for _, rule := range p.counts[c] {
				missing[rule]--
			}
			budget -= 1 + len(p.counts[c])
		}
		if slices.IndexFunc(missing, func(n int) bool { return n > 0 }) < 0 {
			password := make([]rune, p.Length)
			for i, c := range candidate {
				password[i] = p.alphabet[c]
			}
			return string(password), nil
		}
	}
	return "", ErrRare
}

// faces is how many numbers two random bytes can be.
const faces = 1 << 16

// dice draws numbers from random bytes, which it fetches many at a time.
type dice struct {
	read   func([]byte) (int, error)
	random [1024]byte
	used   int
}

func (d *dice) clear() {
	clear(d.random[:])
	d.used = len(d.random)
}

// roll draws a number from 0 to n-1, each equally probable; n is from 1 to faces. Numbers from the end of the range,
// which n does not divide, are thrown away.
func (d *dice) roll(n int) int {
	for {
		if d.used == len(d.random) {
			_, _ = d.read(d.random[:]) // never fails (crypto/rand)
			d.used = 0
		}
		drawn := int(binary.BigEndian.Uint16(d.random[d.used:]))
		d.used += 2
		if drawn < faces-faces%n {
			return drawn % n
		}
	}
}
