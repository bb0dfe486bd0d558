package ceremony_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"coffer/server/ceremony"
)

// pgpPacket is a packet with that tag (RFC 9580, section 4.2).
func pgpPacket(tag byte, body []byte) []byte {
	head := binary.BigEndian.AppendUint32([]byte{0xc0 | tag, 0xff}, uint32(len(body)))
	return append(head, body...)
}

// mpis are numbers of so many bits.
func mpis(bits ...int) (b []byte) {
	for _, n := range bits {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		number := new(big.Int).Lsh(big.NewInt(1), uint(n-1))
		b = append(b, number.SetBit(number, 0, 1).Bytes()...)
	}
	return b
}

func pgpKeyPacket(tag, algorithm byte, bits ...int) []byte {
	return pgpPacket(tag, append([]byte{4, 0, 0, 0, 1, algorithm}, mpis(bits...)...))
}

// TestPGPKeysAreBounded: strangers send keys, and reading one computes with its numbers.
func TestPGPKeysAreBounded(t *testing.T) {
	const tooLarge = "error parsing PGP key: error parsing given PGP key: the key is too large"
	raw := func(text string) []byte {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := newPGP(t)
	// What follows the user id of a key are the signatures about it.
	parts := packet.NewOpaqueReader(bytes.NewReader(raw(good.public)))
	var signed, signature []byte
	for signature == nil {
		p, err := parts.Next()
		if err != nil {
			t.Fatal(err)
		}
		signed = append(signed, pgpPacket(p.Tag, p.Contents)...)
		if p.Tag == 2 {
			signature = pgpPacket(p.Tag, p.Contents)
		}
	}
	nested := bytes.Repeat([]byte{4, 0x13, 1, 8, 0, 0}, 3000)
	s, b, _ := startServer(t, 1, 1)
	for name, test := range map[string]struct {
		key  []byte
		want string
	}{
		"as it is":                    {raw(good.public), ""},
		"with what no key has":        {append(raw(good.public), pgpPacket(60, []byte("x"))...), ""},
		"64 signatures of its own":    {append(signed, bytes.Repeat(signature, 63)...), "no valid encryption keys"},
		"65 signatures of its own":    {append(signed, bytes.Repeat(signature, 64)...), tooLarge},
		"a large signature":           {append(signed, pgpPacket(2, nested)...), tooLarge},
		"DSA of 3080 bits":            {pgpKeyPacket(6, 17, 3080, 256, 3070, 3070), tooLarge},
		"DSA with an order of 264":    {pgpKeyPacket(6, 17, 3072, 264, 3070, 3070), tooLarge},
		"DSA with a large generator":  {pgpKeyPacket(6, 17, 1024, 160, 3000, 1000), tooLarge},
		"RSA of 8200 bits":            {pgpKeyPacket(6, 1, 8200, 17), tooLarge},
		"ElGamal subkey of 4104 bits": {append(bytes.Clone(signed), pgpKeyPacket(14, 16, 4104, 3, 4100)...), tooLarge},
		"DSA of 65,528 bits":          {pgpKeyPacket(6, 17, 65528, 65528, 65500, 65500), tooLarge},
		"more than 64 KiB":            {append(bytes.Clone(signed), make([]byte, 64<<10)...), tooLarge},
		"a private key":               {pgpKeyPacket(5, 1, 1024, 17), "it is a private key"},
	} {
		t.Run(name, func(t *testing.T) {
			g := ceremony.NewGenerateRoot(s, b, (&mint{}).root)
			_, err := g.Start(t.Context(), "", base64.StdEncoding.EncodeToString(test.key))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}

// TestPGPKeysAreReadWhenTheyCount: an initialised server, and a ceremony that is under way, read nobody's keys. Between
// two keys the request's end counts.
func TestPGPKeysAreReadWhenTheyCount(t *testing.T) {
	s, b, _ := startServer(t, 1, 1)
	bad := initParams{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{"!!"}, RootTokenPGPKey: "!!"}
	if _, err := initServer(t.Context(), s, nil, bad, setup); !errors.Is(err, ceremony.ErrAlreadyInitialized) {
		t.Errorf("init: %v", err)
	}
	r, g := ceremony.NewRekey(s, b, nil), ceremony.NewGenerateRoot(s, b, (&mint{}).root)
	key := newPGP(t).public
	over, cancel := context.WithCancel(t.Context())
	cancel()
	p := rekeyParams{SecretShares: 1, SecretThreshold: 1, PGPKeys: []string{key}}
	if _, err := r.Start(over, p); !errors.Is(err, context.Canceled) {
		t.Errorf("rekey after the request's end: %v", err)
	}
	if _, err := g.Start(over, "", key); !errors.Is(err, context.Canceled) {
		t.Errorf("generate-root after the request's end: %v", err)
	}
	for _, key := range []string{key, "!!"} {
		p.PGPKeys[0] = key
		_, rekeyErr := r.Start(t.Context(), p)
		_, rootErr := g.Start(t.Context(), "", key)
		if key == "!!" {
			wantError(t, rekeyErr, errInvalid, "rekey already in progress")
			wantError(t, rootErr, errInvalid, "root generation already in progress")
		} else if rekeyErr != nil || rootErr != nil {
			t.Fatal(rekeyErr, rootErr)
		}
	}
}
