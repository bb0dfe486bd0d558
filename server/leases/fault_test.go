package leases

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestFaults makes every call to storage fail in every form, and checks that every lease that was given
// out ends, or is still there to be ended.
func TestFaults(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, faulty, &fakeSecrets{renewal: engines.LeaseGrant{TTL: 20 * time.Minute}}, nil)
			defer s.end()
			var given []Lease
			for range 3 {
				l, err := s.Register(t.Context(), Secret{Path: "db/a", Token: "h1", TTL: 10 * time.Minute}, true)
				if err == nil {
					given = append(given, l)
				}
			}
			for i, l := range given {
				switch i {
				case 0:
					_, _, _ = s.Renew(t.Context(), l.ID, 0)
				case 1:
					_ = s.Revoke(t.Context(), l.ID)
				}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			for _, l := range given {
				if s.secrets.at(l.ID).IsZero() {
					t.Errorf("%s never ended", l.ID)
				}
			}
			if len(given) < 3 { // one was written but reported failed, and is loaded at the next start
				again := start(t, base, nil, nil)
				defer again.end()
				time.Sleep(time.Hour)
				synctest.Wait()
			}
			if n := count(t, base); n != 0 {
				t.Errorf("%d keys left", n)
			}
		})
	})
}

func FuzzDecode(f *testing.F) {
	full := Lease{ID: "a/b", Kind: EngineSecret, Issued: time.Unix(1, 2), Expires: time.Unix(3, 4), Renewable: true,
		Failure: "x", Secret: &Secret{Path: "a", TTL: time.Hour, Internal: map[string]any{"k": 1.5}}}
	for _, l := range []Lease{full, {ID: "t", Kind: EngineSecret, Issued: time.Unix(1, 0), Secret: &Secret{Path: "p"}}} {
		b, err := encode(l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:recordHeader-1])
	}
	f.Add([]byte{})
	// The first form of version 1: of a token, and of a secret.
	f.Add(append([]byte{firstVersion, firstFlagRenewable}, make([]byte, 24)...))
	f.Add(append(append([]byte{firstVersion, firstFlagSecret | firstFlagTail}, make([]byte, 24)...), `{"secret":{"path":"0"}}`...))
	f.Add(append(append([]byte{recordVersion, flagRenewable}, make([]byte, 24)...), `{"secret":{"path":"0","internal":{}}}`...))
	f.Add(append(append([]byte{recordVersion, 0}, make([]byte, 24)...), "{}"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decode("id", b)
		if err != nil {
			if !errors.Is(err, errCorrupt) && !errors.Is(err, errObsolete) {
				t.Fatalf("%v is neither errCorrupt nor errObsolete", err)
			}
			return
		}
		if l.Kind != EngineSecret || l.Secret == nil {
			t.Fatalf("%+v", l)
		}
		again, err := encode(l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode("id", again)
		if diff := cmp.Diff(l, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v: -want +got\n%s", err, diff)
		}
	})
}

// TestRecordsOfVersion1 reads both of its forms.
func TestRecordsOfVersion1(t *testing.T) {
	tail := `{"secret":{"path":"db/creds/app"}}`
	for name, test := range map[string]struct {
		flags     byte
		tail      string
		renewable bool
		err       error
	}{
		"a token":                     {firstFlagRenewable, "", false, errObsolete},
		"a token that failed":         {firstFlagTail, `{"failure":"x"}`, false, errObsolete},
		"a secret, first form":        {firstFlagSecret | firstFlagTail, tail, false, nil},
		"renewable, first form":       {firstFlagSecret | firstFlagTail | firstFlagRenewable, tail, true, nil},
		"a secret":                    {0, tail, false, nil},
		"renewable":                   {flagRenewable, tail, true, nil},
		"flags that no form has":      {1 << 3, tail, false, errCorrupt},
		"a secret that is not there":  {firstFlagSecret | firstFlagTail, "{}", false, errCorrupt},
		"a secret without its record": {firstFlagSecret, "", false, errCorrupt},
	} {
		record := append(append([]byte{firstVersion, test.flags}, make([]byte, 24)...), test.tail...)
		l, err := decode("id", record)
		if !errors.Is(err, test.err) || err == nil && (l.Renewable != test.renewable || l.Secret.Path != "db/creds/app") {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}
