package ceremony_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-cmp/cmp"

	"coffer/barrier"
	"coffer/barrier/seal"
	"coffer/server/ceremony"
	"coffer/storage"
)

const rootToken = "hvs.abcdefghijklmnopqrstuvwx"

// Short names for the tables.
type (
	initParams  = ceremony.InitParams
	rekeyParams = ceremony.RekeyParams
)

var errInvalid, errFailed = ceremony.ErrInvalid, ceremony.ErrFailed

const (
	badSeal    = "invalid seal configuration: "
	badRekey   = "invalid rekey seal configuration: "
	notBase64  = "'key' must be a valid hex or base64 string"
	notPGP     = "error parsing given PGP key: openpgp: invalid data: tag byte does not have MSB set"
	lengths    = "all parts must be the same length"
	badKeySize = "failed to setup unseal key: crypto/aes: invalid key size 19"
	wrongKeys  = "unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: " +
		"error decrypting seal wrapped value\nerror decrypting using seal shamir: cipher: message authentication failed"
)

// repeat is a share in hex.
func repeat(digits string, n int) string { return strings.Repeat(digits, n) }

// setup writes what a core would, as far as these tests care.
func setup(ctx context.Context, draft *barrier.Barrier) (string, error) {
	return rootToken, draft.Apply(ctx, storage.Put("core/mounts", []byte("mounts")))
}

// initServer drafts a server and stores it.
func initServer(
	ctx context.Context, s storage.Storage, auto seal.Auto, p ceremony.InitParams, setup ceremony.Setup,
) (ceremony.InitResult, error) {
	draft, err := ceremony.DraftInit(ctx, s, auto, p, setup)
	if err != nil {
		return ceremony.InitResult{}, err
	}
	return draft.Store(ctx)
}

func initialize(t *testing.T, s storage.Storage, shares, threshold int) ceremony.InitResult {
	t.Helper()
	p := initParams{SecretShares: shares, SecretThreshold: threshold}
	r, err := initServer(t.Context(), s, nil, p, setup)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// unsealed gives the shares and opens the barrier.
func unsealed(t *testing.T, s storage.Storage, shares ...string) *barrier.Barrier {
	t.Helper()
	u := ceremony.NewUnseal(s, nil)
	for i, share := range shares {
		opening, verdict, err := u.Add(t.Context(), share, false)
		if err != nil {
			t.Fatalf("share %d: %v", i, err)
		}
		complete := verdict == ceremony.Complete
		if complete != (i == len(shares)-1) {
			t.Fatalf("share %d of %d: complete %v", i, len(shares), complete)
		}
		if !complete {
			continue
		}
		b, err := barrier.Open(t.Context(), s, opening.Root)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return nil
}

// wantError checks the kind and the text of an error.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || err.Error() != text {
		t.Errorf("error: %v\nwant:  %s (%v)", err, text, kind)
	}
}

// pgp is a key pair.
type pgp struct {
	public string
	entity *openpgp.Entity
}

func newPGP(t *testing.T) pgp {
	t.Helper()
	e, err := openpgp.NewEntity("operator", "", "operator@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return pgp{base64.StdEncoding.EncodeToString(b.Bytes()), e}
}

func (p pgp) fingerprint() string { return hex.EncodeToString(p.entity.PrimaryKey.Fingerprint) }

func (p pgp) decrypt(t *testing.T, inBase64 string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(inBase64)
	if err != nil {
		t.Fatal(err)
	}
	m, err := openpgp.ReadMessage(bytes.NewReader(raw), openpgp.EntityList{p.entity}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(m.UnverifiedBody)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func TestAnswersHaveVaultsFields(t *testing.T) {
	list := ceremony.ShareList{Keys: []string{"k"}, KeysBase64: []string{"b"}}
	for _, test := range []struct {
		answer any
		want   string
	}{
		{ceremony.InitResult{ShareList: list, RootToken: "t"},
			`{"keys":["k"],"keys_base64":["b"],"root_token":"t"}`},
		{ceremony.RekeyStatus{}, `{"nonce":"","started":false,"t":0,"n":0,"progress":0,"required":0,` +
			`"pgp_fingerprints":null,` +
			`"backup":false,"verification_required":false}`},
		{ceremony.RekeyResult{ShareList: list, VerificationNonce: "v"},
			`{"nonce":"","complete":false,"keys":["k"],"keys_base64":["b"],"pgp_fingerprints":null,"backup":false,` +
				`"verification_required":false,"verification_nonce":"v"}`},
		{ceremony.GenerateRootStatus{}, `{"nonce":"","started":false,"progress":0,"required":0,"complete":false,` +
			`"encoded_token":"",` +
			`"encoded_root_token":"","pgp_fingerprint":"","otp":"","otp_length":0}`},
		{ceremony.VerifyStatus{}, `{"nonce":"","started":false,"t":0,"n":0,"progress":0}`},
		{ceremony.VerifyResult{}, `{"nonce":"","complete":false}`},
	} {
		got, err := json.Marshal(test.answer)
		if diff := cmp.Diff(test.want, string(got)); err != nil || diff != "" {
			t.Errorf("%v: -want +got\n%s", err, diff)
		}
	}
}
