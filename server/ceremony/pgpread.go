package ceremony

import (
	"bytes"
	"context"
	"crypto/dsa" //nolint:staticcheck // only to look at the sizes of old operators' keys
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/elgamal"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// What a PGP public key may have at most. Reading one verifies its own signatures, and whoever may begin a ceremony
// sends keys: these bounds keep a key to a fraction of a second.
const (
	maxPGPKey       = 64 << 10 // bytes of a key with all of its signatures
	maxPGPPart      = 4 << 10  // bytes of one public key in it
	maxPGPSignature = 16 << 10 // bytes of one signature
	maxPGPOwn       = 64       // signatures that are verified
	maxRSABits      = 8192
	maxDSABits      = 3072 // FIPS 186-4, as is maxDSAOrder
	maxDSAOrder     = 256
	maxElGamalBits  = 4096 // what GnuPG makes at most
)

// Tags of packets (RFC 9580, section 5).
const (
	tagSignature     = 2
	tagPrivateKey    = 5
	tagPublicKey     = 6
	tagPrivateSubkey = 7
	tagUserID        = 13
	tagPublicSubkey  = 14
	tagUserAttribute = 17
)

// errTooLarge is returned for a key that is beyond one of the bounds.
var errTooLarge = errors.New("the key is too large")

// pgpReader reads one key at a time, however many requests bring some.
type pgpReader struct{ slot chan struct{} }

func newPGPReader() *pgpReader { return &pgpReader{slot: make(chan struct{}, 1)} }

// key reads a binary public key in base64. It returns an ErrInvalid also for a key that parses but cannot encrypt: that
// must not come out when there is something to encrypt. While others read it waits, and returns the error of ctx.
func (r *pgpReader) key(ctx context.Context, text string) (pgpKey, error) {
	select {
	case r.slot <- struct{}{}:
		defer func() { <-r.slot }()
	case <-ctx.Done():
		return pgpKey{}, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return pgpKey{}, err
	}
	return parsePGPKey(text)
}

// keys reads some keys. An error that is not of ctx gets the prefix of the parameter wrong.
func (r *pgpReader) keys(ctx context.Context, texts []string, wrong func(error) error) ([]pgpKey, error) {
	var keys []pgpKey
	for _, text := range texts {
		key, err := r.key(ctx, text)
		if err != nil && ctx.Err() == nil {
			err = wrong(err)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// readEntity reads a key whose parts are within the bounds. Packets that no public key has are left out.
func readEntity(raw []byte) (*openpgp.Entity, error) {
	if len(raw) > maxPGPKey {
		return nil, errTooLarge
	}
	var kept bytes.Buffer
	var bounds pgpBounds
	for packets := packet.NewOpaqueReader(bytes.NewReader(raw)); ; {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		keep, err := bounds.check(p)
		if err != nil {
			return nil, err
		}
		if keep {
			if err := p.Serialize(&kept); err != nil {
				return nil, fmt.Errorf("ceremony: copy a packet: %w", err)
			}
		}
	}
	return openpgp.ReadEntity(packet.NewReader(&kept))
}

// pgpBounds is what was seen of a key.
type pgpBounds struct {
	primary *packet.PublicKey
	// subkeys tells that the signatures from here on are about a subkey: they are all verified.
	subkeys bool
	own     int
}

// check returns errTooLarge for a packet beyond the bounds. What does not parse is for the reader of the key to say.
func (b *pgpBounds) check(p *packet.OpaquePacket) (keep bool, err error) {
	switch p.Tag {
	case tagPrivateKey, tagPrivateSubkey:
		return false, errors.New("it is a private key")
	case tagPublicKey, tagPublicSubkey:
		return true, b.checkKey(p)
	case tagSignature:
		return true, b.checkSignature(p)
	case tagUserID, tagUserAttribute:
		return true, nil
	default:
		return false, nil
	}
}

func (b *pgpBounds) checkKey(p *packet.OpaquePacket) error {
	if len(p.Contents) > maxPGPPart {
		return errTooLarge
	}
	parsed, _ := p.Parse()
	key, ok := parsed.(*packet.PublicKey)
	if !ok {
		return nil
	}
	if b.subkeys = key.IsSubkey; !b.subkeys && b.primary == nil {
		b.primary = key
	}
	within := true
	switch k := key.PublicKey.(type) {
	case *rsa.PublicKey:
		within = k.N.BitLen() <= maxRSABits
	case *dsa.PublicKey:
		within = k.P.BitLen() <= maxDSABits && k.Q.BitLen() <= maxDSAOrder &&
			k.G.Cmp(k.P) < 0 && k.Y.Cmp(k.P) < 0
	case *elgamal.PublicKey:
		within = k.P.BitLen() <= maxElGamalBits && k.G.Cmp(k.P) < 0 && k.Y.Cmp(k.P) < 0
	}
	if !within {
		return errTooLarge
	}
	return nil
}

func (b *pgpBounds) checkSignature(p *packet.OpaquePacket) error {
	if len(p.Contents) > maxPGPSignature {
		return errTooLarge
	}
	parsed, _ := p.Parse()
	signature, ok := parsed.(*packet.Signature)
	if !ok || b.primary == nil || !b.subkeys && !signature.CheckKeyIdOrFingerprint(b.primary) &&
		signature.SigType != packet.SigTypeKeyRevocation {
		return nil
	}
	if b.own++; b.own > maxPGPOwn {
		return errTooLarge
	}
	return nil
}
