package lockout

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"coffer/storage"
)

func FuzzDecode(f *testing.F) {
	b, err := json.Marshal(record{Failed: time.Unix(1, 0), Until: time.Unix(2, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("bWU", b)
	f.Add("", []byte("null"))
	f.Add("!", []byte("{"))
	f.Fuzz(func(t *testing.T, encoded string, b []byte) {
		name, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			return
		}
		r, err := decode(b)
		if err != nil {
			if !errors.Is(err, storage.ErrDamaged) {
				t.Errorf("%v is no ErrDamaged", err)
			}
			return
		}
		// What is read stands for one user, and one can ask whether he is locked.
		u := NewUser("acc", string(name))
		c := &counter{user: u, last: r.Failed, locked: true}
		c.locks(Policy{Duration: time.Minute}, r.Until)
		if again := NewUser("acc", u.Name); again != u {
			t.Errorf("%q is %q and %q", encoded, u.Name, again.Name)
		}
	})
}
