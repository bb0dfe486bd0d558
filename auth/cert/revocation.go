package cert

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// revocation is a revocation list, ready to be asked. It is never changed once it is in use.
type revocation struct {
	url string
	// issuer signed the list. It is nil for a list that was stored before issuers were, which counts for every
	// certificate with one of its serial numbers until it is written or fetched again.
	issuer *x509.Certificate
	// since and until are thisUpdate and nextUpdate; until is zero for a list that does not say.
	since, until time.Time
	number       *big.Int // the CRL number, nil for none
	// scope is the issuing distribution point as it was signed, nil for none: the part of the issuer's
	// certificates that the list is about.
	scope   []byte
	sum     [sha256.Size]byte   // of what was signed
	serials map[string]struct{} // in decimal
}

// Extensions of revocation lists and of their entries (RFC 5280, 5.2 and 5.3).
const (
	oidIssuerAltName = "2.5.29.18"
	oidNumber        = "2.5.29.20"
	oidReason        = "2.5.29.21"
	oidInvalidSince  = "2.5.29.24"
	oidDelta         = "2.5.29.27"
	oidScope         = "2.5.29.28"
	oidCertIssuer    = "2.5.29.29"
	oidAuthorityKey  = "2.5.29.35"
)

// Why a list is refused although it can be read.
var (
	errDelta     = errors.New("it is a delta CRL, which does not name every revoked certificate")
	errIndirect  = errors.New("it is an indirect CRL, which is about certificates of other issuers")
	errAttribute = errors.New("it is about attribute certificates only")
	errScope     = errors.New("its issuing distribution point cannot be read")
	errCritical  = errors.New("it has a critical extension that is not known here")
)

// Why a list does not take the place of the one that is stored.
var (
	errOtherAuthority = errors.New("it is signed by another authority than the stored one")
	errOtherScope     = errors.New("it is about another part of the authority's certificates than the stored one")
	errOlder          = errors.New("it is not newer than the stored one")
)

// parseList reads a revocation list in DER or PEM (RFC 5280, 5.1). Who signed it is for signedBy to find out.
func parseList(raw []byte) (*revocation, *pkix.CertificateList, error) {
	// The newer ParseRevocationList refuses lists of version 1, which openssl writes unless told otherwise.
	parsed, err := x509.ParseCRL(raw) //nolint:staticcheck // see above
	if err != nil {
		return nil, nil, err
	}
	tbs := &parsed.TBSCertList
	l := &revocation{
		since: tbs.ThisUpdate, until: tbs.NextUpdate, sum: sha256.Sum256(tbs.Raw),
		serials: make(map[string]struct{}, len(tbs.RevokedCertificates)),
	}
	for _, x := range tbs.Extensions {
		if err := l.extend(x); err != nil {
			return nil, nil, err
		}
	}
	for _, c := range tbs.RevokedCertificates {
		for _, x := range c.Extensions {
			if err := checkEntry(x); err != nil {
				return nil, nil, err
			}
		}
		l.serials[c.SerialNumber.String()] = struct{}{}
	}
	return l, parsed, nil
}

// extend puts in what an extension says. One that changes what the list is about, and that this package does not
// follow, is an error (RFC 5280, 5.2 and 6.3.3).
func (l *revocation) extend(x pkix.Extension) error {
	switch x.Id.String() {
	case oidNumber:
		if _, err := asn1.Unmarshal(x.Value, &l.number); err != nil {
			return fmt.Errorf("CRL number: %w", err)
		}
	case oidScope:
		l.scope = x.Value
		return checkScope(x.Value)
	case oidDelta:
		return errDelta
	case oidIssuerAltName, oidAuthorityKey:
	default:
		if x.Critical {
			return errCritical
		}
	}
	return nil
}

// Fields of an issuing distribution point (RFC 5280, 5.2.5).
const (
	fieldIndirect  = 4
	fieldAttribute = 5
)

// checkScope refuses lists that are not about the certificates of who signed them.
func checkScope(value []byte) error {
	var whole asn1.RawValue
	if _, err := asn1.Unmarshal(value, &whole); err != nil || whole.Tag != asn1.TagSequence {
		return errScope
	}
	for rest := whole.Bytes; len(rest) > 0; {
		var field asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			return errScope
		}
		set := slices.ContainsFunc(field.Bytes, func(b byte) bool { return b != 0 })
		switch {
		case field.Tag == fieldIndirect && set:
			return errIndirect
		case field.Tag == fieldAttribute && set:
			return errAttribute
		}
	}
	return nil
}

func checkEntry(x pkix.Extension) error {
	switch x.Id.String() {
	case oidCertIssuer:
		return errIndirect
	case oidReason, oidInvalidSince:
		return nil
	}
	if x.Critical {
		return errCritical
	}
	return nil
}

// signedBy finds the authority among the candidates that signed a list: it has the name of the list's issuer, may
// sign lists, and its key did sign this one (RFC 5280, 6.3.3 f and g).
func signedBy(list *pkix.CertificateList, candidates []*x509.Certificate) (*x509.Certificate, bool) {
	// Only what comes first in what was signed, for the issuer's name as it is written there.
	var head struct {
		Version   int `asn1:"optional,default:0"`
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
	}
	if _, err := asn1.Unmarshal(list.TBSCertList.Raw, &head); err != nil {
		return nil, false
	}
	for _, c := range candidates {
		if !c.IsCA || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCRLSign == 0 ||
			!bytes.Equal(c.RawSubject, head.Issuer.FullBytes) {
			continue
		}
		// RevocationList has the newer method, but does not read version 1.
		if c.CheckCRLSignature(list) == nil { //nolint:staticcheck // see above
			return c, true
		}
	}
	return nil, false
}

// lists reports whether a certificate is revoked: its serial number is on the list, and who signed the list signed
// the certificate.
func (l *revocation) lists(c *x509.Certificate) bool {
	if _, found := l.serials[c.SerialNumber.String()]; !found {
		return false
	}
	if l.issuer == nil {
		return true
	}
	if !bytes.Equal(c.RawIssuer, l.issuer.RawSubject) {
		return false
	}
	err := l.issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	// Who signed it cannot be told then, so it stays out.
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.Is(err, x509.ErrUnsupportedAlgorithm) || errors.As(err, &insecure)
}

// follows reports an error unless the list may take the place of an older one: it is signed by the same authority,
// about the same certificates, and newer. Otherwise who can choose what is fetched could bring a revoked certificate
// back. The very same list may be put again.
func (l *revocation) follows(old *revocation) error {
	if old.issuer == nil || l.sum == old.sum {
		return nil
	}
	switch {
	case !sameAuthority(l.issuer, old.issuer):
		return errOtherAuthority
	case !bytes.Equal(l.scope, old.scope):
		return errOtherScope
	}
	numbers := 0
	if l.number != nil && old.number != nil {
		numbers = l.number.Cmp(old.number)
	}
	times := l.since.Compare(old.since)
	if times < 0 || numbers < 0 || times == 0 && numbers == 0 {
		return errOlder
	}
	return nil
}

// sameAuthority reports whether two certificates are of one name and key; an authority may renew its certificate.
func sameAuthority(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) &&
		bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}
