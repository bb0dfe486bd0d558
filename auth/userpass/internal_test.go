package userpass

import (
	"encoding/json"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func FuzzDecodeUser(f *testing.F) {
	b, err := json.Marshal(&user{Hash: []byte("h")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("null"))
	f.Add([]byte(`{"hash": 1}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if u, err := decodeUser("me", b); err == nil {
			u.Token.Show(map[string]any{})
			u.Token.Login()
		}
	})
}

// What passes is what bcrypt can work with in bounded time.
func FuzzCheckHash(f *testing.F) {
	f.Add("$2a$10$no9FZQ0MNW8D.Po4yGApA.1UohozWZsp/WTp6FNSfIkUpA9/xXm1O")
	f.Add("$2y$31$no9FZQ0MNW8D.Po4yGApA.1UohozWZsp/WTp6FNSfIkUpA9/xXm1O")
	f.Add("$2b$-1$no9FZQ0MNW8D.Po4yGApA.1UohozWZsp/WTp6FNSfIkUpA9/xXm1O")
	f.Add("")
	f.Fuzz(func(t *testing.T, hash string) {
		if checkHash(hash) != nil {
			return
		}
		if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost > maxCost {
			t.Errorf("%q: cost %d, %v", hash, cost, err)
		}
	})
}
