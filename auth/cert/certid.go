package cert

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"time"

	// The hashes that a server may name the issuer by. SHA-1 is what nearly all use; it only tells issuers apart.
	_ "crypto/sha1" //nolint:gosec // see above
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// The parts of an OCSP response (RFC 6960, 4.2.1) down to the names of the certificates it is about. The
// parser of golang.org/x/crypto/ocsp looks for the serial number alone; two authorities may have given the same.
type (
	ocspResponse struct {
		Status asn1.Enumerated
		Bytes  struct {
			Type asn1.ObjectIdentifier
			Data []byte
		} `asn1:"explicit,tag:0"`
	}
	ocspBasic struct {
		Data struct {
			Raw         asn1.RawContent
			Version     int `asn1:"optional,default:0,explicit,tag:0"`
			ResponderID asn1.RawValue
			ProducedAt  time.Time `asn1:"generalized"`
			Responses   []ocspSingle
			Extensions  asn1.RawValue `asn1:"optional,explicit,tag:1"`
		}
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
		Certs     []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	ocspSingle struct {
		Raw  asn1.RawContent
		Name certID
	}
	certID struct {
		Hash       pkix.AlgorithmIdentifier
		IssuerName []byte
		IssuerKey  []byte
		Serial     *big.Int
	}
)

// errOtherIssuer is returned for an answer about somebody else's certificate of the same serial number.
var errOtherIssuer = errors.New("it is about a certificate of another issuer")

// hashes are those that an issuer may be named by.
func hashOf(oid asn1.ObjectIdentifier) (crypto.Hash, bool) {
	for text, h := range map[string]crypto.Hash{
		"1.3.14.3.2.26": crypto.SHA1, "2.16.840.1.101.3.4.2.1": crypto.SHA256,
		"2.16.840.1.101.3.4.2.2": crypto.SHA384, "2.16.840.1.101.3.4.2.3": crypto.SHA512,
	} {
		if oid.String() == text {
			return h, true
		}
	}
	return 0, false
}

// aboutIssuer reports an error unless every part of the answer that bears the subject's serial number is about
// the issuer's certificate.
func aboutIssuer(raw []byte, subject, issuer *x509.Certificate) error {
	var outer ocspResponse
	if _, err := asn1.Unmarshal(raw, &outer); err != nil {
		return errOtherIssuer
	}
	var basic ocspBasic
	if _, err := asn1.Unmarshal(outer.Bytes.Data, &basic); err != nil {
		return errOtherIssuer
	}
	key, err := keyBits(issuer)
	if err != nil {
		return err
	}
	found := false
	for _, single := range basic.Data.Responses {
		id := single.Name
		if id.Serial == nil || id.Serial.Cmp(subject.SerialNumber) != 0 {
			continue
		}
		h, ok := hashOf(id.Hash.Algorithm)
		if !ok || !bytes.Equal(digest(h, issuer.RawSubject), id.IssuerName) ||
			!bytes.Equal(digest(h, key), id.IssuerKey) {
			return errOtherIssuer
		}
		found = true
	}
	if !found {
		return errOtherIssuer
	}
	return nil
}

func digest(h crypto.Hash, b []byte) []byte {
	d := h.New()
	d.Write(b)
	return d.Sum(nil)
}

// keyBits are the bits of a certificate's public key, without what says of which kind it is.
func keyBits(c *x509.Certificate) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil {
		return nil, err
	}
	return info.Key.RightAlign(), nil
}
