package passwords

import (
	"encoding/binary"
	"testing"
)

// Of all numbers that two random bytes can be, each face gets as many: twice here, so that the first round's highest
// numbers, which must not count, are passed.
func TestDiceAreFair(t *testing.T) {
	for _, n := range []int{1, 2, 3, 26, 62, 72, 255, 256, 257, 1000, 40_000, faces} {
		next := 0
		d := dice{read: func(b []byte) (int, error) {
			for i := 0; i < len(b); i += 2 {
				binary.BigEndian.PutUint16(b[i:], uint16(next%faces))
				next++
			}
			return len(b), nil
		}}
		d.clear()
		seen := make([]int, n)
		for range 2 * (faces / n) * n {
			seen[d.roll(n)]++
		}
		for face, count := range seen {
			if count != 2*(faces/n) {
				t.Fatalf("of %d: %d was drawn %d times, want %d", n, face, count, 2*(faces/n))
			}
		}
	}
}

// All passwords that meet a policy come equally often: here each pair of bytes is dealt once, and with them each
// candidate. Mending a candidate would make some more frequent.
func TestPasswordsAreEquallyProbable(t *testing.T) {
	p := &Policy{Length: 2}
	p.compile([]rule{{charset: []rune("ab"), min: 1}, {charset: []rune("12"), min: 0}})
	seen := map[string]int{}
	for first := range 4 {
		for second := range 4 {
			dealt := []int{first, second, 0, 0} // a candidate that fails is followed by one that meets the rule
			at := 0
			got, err := p.generate(func(b []byte) (int, error) {
				for i := 0; i < len(b); i += 2 {
					value := 2 // "a"
					if at < len(dealt) {
						value = dealt[at]
					}
					at++
					binary.BigEndian.PutUint16(b[i:], uint16(value))
				}
				return len(b), nil
			}, work)
			if err != nil {
				t.Fatal(err)
			}
			if at > 0 && string(p.alphabet[first])+string(p.alphabet[second]) == got {
				seen[got]++
			}
		}
	}
	if len(seen) != 12 { // 16 pairs, 4 of them without a letter
		t.Errorf("%d passwords: %v", len(seen), seen)
	}
}
