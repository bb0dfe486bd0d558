package cert

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
)

// The refusals of a login, in Vault's words.
var (
	errNoTLS         = engines.Invalid("tls connection required")
	errNoCertificate = engines.Invalid("client certificate must be supplied")
	errMismatch      = engines.Invalid("certificate mismatch of a trusted leaf certificate")
	errNotTrusted    = engines.Invalid("%s", refusal)
	errNameless      = engines.Failed("missing name in alias")
)

const refusal = "failed to match all constraints for this login certificate"

type loginParams struct {
	Name string `param:"name" help:"The role to log in with; any that matches by default."`
}

func (e *engine) login(ctx context.Context, r *engines.Request, p loginParams) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	matched, err := e.verify(ctx, &r.Client, engines.FoldASCII(p.Name), c)
	if err != nil {
		return nil, withCertificate(err, r.Client.Chain, c)
	}
	if !matched.role.Token.Admits(r.Client.Addr) {
		return nil, engines.ErrDenied
	}
	client := r.Client.Chain[0]
	if client.Subject.CommonName == "" {
		return nil, errNameless
	}
	login := matched.role.Token.Login()
	login.DisplayName = matched.role.DisplayName
	login.Alias = client.Subject.CommonName
	login.Metadata = metadata(client, matched.role)
	if c.AliasMetadata {
		login.AliasMetadata = login.Metadata
	}
	login.Internal = map[string]any{"role": matched.role.Name, "key": keyOf(client)}
	from := r.Client
	login.StillGood = auth.Unchanged(matched.role, errNotTrusted, func(ctx context.Context) (*role, error) {
		return e.again(ctx, &from, p)
	})
	return &engines.Response{Login: login}, nil
}

// again finds the role that trusts the certificate of a login that waited, as things are now.
func (e *engine) again(ctx context.Context, from *engines.Client, p loginParams) (*role, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	matched, err := e.verify(ctx, from, engines.FoldASCII(p.Name), c)
	if err != nil {
		return nil, err
	}
	return matched.role, nil
}

// keyOf names the public key of a certificate. Renewals are bound to it.
func keyOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// metadata is what the token tells of the certificate.
func metadata(c *x509.Certificate, r *role) map[string]string {
	m := map[string]string{
		"cert_name":        r.Name,
		"common_name":      c.Subject.CommonName,
		"serial_number":    c.SerialNumber.String(),
		"subject_key_id":   colons(c.SubjectKeyId),
		"authority_key_id": colons(c.AuthorityKeyId),
	}
	for _, extension := range c.Extensions {
		oid := extension.Id.String()
		if slices.Contains(r.Needs.MetadataExtension, oid) {
			// Policy templates take no dots in a name.
			m[strings.ReplaceAll(oid, ".", "-")] = textOf(extension.Value)
		}
	}
	return m
}

// textOf is the text in the value of an extension, "" when it holds something else.
func textOf(value []byte) string {
	var text string
	if _, err := asn1.Unmarshal(value, &text); err != nil {
		return ""
	}
	return text
}

func colons(id []byte) string {
	parts := make([]string, len(id))
	for i, b := range id {
		parts[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(parts, ":")
}

// verify finds the role that trusts the client's certificate. The error is what the client is told.
func (e *engine) verify(ctx context.Context, from *engines.Client, name string, c *config) (*trusted, error) {
	if !from.Secure {
		return nil, errNoTLS
	}
	if len(from.Chain) == 0 {
		return nil, errNoCertificate
	}
	client := from.Chain[0]
	a, err := e.anchors(ctx, name, c)
	if err != nil {
		return nil, err
	}
	revoked, err := e.lists.all(ctx, e)
	if err != nil {
		return nil, err
	}
	chains, err := e.chains(a.pool, from.Chain)
	if err != nil {
		return nil, err
	}
	v := &verification{engine: e, client: client, revoked: revoked, cacheSize: c.StatusCache}
	for _, t := range a.leaves {
		trusts, err := v.leaf(ctx, t)
		if err != nil {
			return nil, err
		}
		if trusts {
			return t, nil
		}
	}
	for _, t := range a.authorities {
		for _, chain := range chains {
			if t.anchors(chain) && v.accepts(ctx, t, chain) {
				return t, nil
			}
		}
	}
	if v.trouble != nil {
		return nil, engines.Invalid("%s; additionally got errors during verification: %s",
			refusal, engines.Numbered(v.trouble.Error()))
	}
	return nil, errNotTrusted
}

// chains are the ways from the client's certificate to an authority of the pool; none when there is none.
func (e *engine) chains(pool *x509.CertPool, presented []*x509.Certificate) ([][]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots: pool, Intermediates: x509.NewCertPool(), CurrentTime: e.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range presented[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := presented[0].Verify(options)
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return nil, nil
	}
	if err != nil {
		return nil, engines.Failed("failed to verify client's certificate: %v", err)
	}
	return chains, nil
}

// anchors reports whether one of the role's certificates is in the chain.
func (t *trusted) anchors(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(t.certs, func(c *x509.Certificate) bool {
		return slices.ContainsFunc(chain, c.Equal)
	})
}

// verification is one client's certificate on its way past the roles.
type verification struct {
	engine    *engine
	client    *x509.Certificate
	revoked   *revoked
	cacheSize int
	// trouble is why it could not be found out whether the certificate is revoked.
	trouble error
}

// leaf reports whether a role that names a certificate itself names this one. Somebody else's certificate
// with the same serial number is an error: it is made to look like it.
func (v *verification) leaf(ctx context.Context, t *trusted) (bool, error) {
	known := t.certs[0]
	if known.SerialNumber.Cmp(v.client.SerialNumber) != 0 {
		return false, nil
	}
	if !known.Equal(v.client) {
		if v.revoked.any(t.certs) || !t.role.Needs.match(v.client) {
			return false, nil
		}
		return false, errMismatch
	}
	return v.accepts(ctx, t, t.certs), nil
}

// accepts reports whether nothing speaks against a certificate that the role trusts by this chain.
func (v *verification) accepts(ctx context.Context, t *trusted, chain []*x509.Certificate) bool {
	if v.revoked.any(chain) || !t.role.Needs.match(v.client) {
		return false
	}
	if !t.role.OCSP.Enabled {
		return true
	}
	good, err := v.engine.askStatus(ctx, t, v.client, chain, v.revoked, v.cacheSize)
	if err != nil {
		v.trouble = err
		return false
	}
	return good
}

// match reports whether the certificate has what the role asks for.
func (n *constraints) match(c *x509.Certificate) bool {
	uris := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		uris[i] = u.String()
	}
	name := []string{c.Subject.CommonName}
	return matches(n.Names, slices.Concat(name, c.DNSNames, c.EmailAddresses)) &&
		matches(n.CommonNames, name) &&
		matches(n.DNS, c.DNSNames) &&
		matches(n.Emails, c.EmailAddresses) &&
		matches(n.URIs, uris) &&
		matches(n.Units, c.Subject.OrganizationalUnit) &&
		matches(n.Organizations, c.Subject.Organization) &&
		n.extensions(c)
}

// matches reports whether one of the globs fits one of the values; without globs everything does.
func matches(globs, values []string) bool {
	return len(globs) == 0 || slices.ContainsFunc(values, func(v string) bool { return auth.MatchesAny(globs, v) })
}

// extensions reports whether every extension that is asked for is there.
func (n *constraints) extensions(c *x509.Certificate) bool {
	for _, want := range n.Extensions {
		oid, glob, ok := strings.Cut(want, ":")
		inHex := oid == "hex"
		if ok && inHex {
			oid, glob, ok = strings.Cut(glob, ":")
			glob = strings.ToLower(glob)
		}
		if !ok || !slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool {
			if e.Id.String() != oid {
				return false
			}
			if inHex {
				return auth.Matches(glob, hex.EncodeToString(e.Value))
			}
			return auth.Matches(glob, textOf(e.Value))
		}) {
			return false
		}
	}
	return true
}

// maxShown is how much of a refused certificate's names is repeated.
const maxShown = 100

// withCertificate adds to a refusal what the certificate was, where the mount is set to tell.
func withCertificate(err error, chain []*x509.Certificate, c *config) error {
	var public *engines.Error
	if !c.MetadataOnFailure || !errors.As(err, &public) || !errors.Is(err, engines.ErrInvalid) {
		return err
	}
	if len(chain) == 0 || chain[0].IsCA {
		return engines.Invalid("no client certificate found\n%s", public.Message)
	}
	client := chain[0]
	data := map[string]any{
		"common_name":      client.Subject.CommonName,
		"serial_number":    client.SerialNumber.String(),
		"subject_key_id":   colons(client.SubjectKeyId),
		"authority_key_id": colons(client.AuthorityKeyId),
	}
	for name, value := range data {
		if text, ok := value.(string); ok && len(text) > maxShown {
			data[name] = text[:maxShown-3] + "..."
		}
	}
	return &engines.Error{Kind: public.Kind, Message: public.Message, Data: data}
}

// errOtherKey refuses a renewal by somebody else than who logged in.
var errOtherKey = engines.Failed("client identity during renewal not matching client identity used during login")

// RenewLogin implements engines.LoginRenewer. Unless the mount is set otherwise the client shows that it still
// has the key it logged in with, and a certificate that its role still trusts.
func (e *engine) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	name, _ := r.Internal["role"].(string)
	key, _ := r.Internal["key"].(string)
	if name == "" || key == "" {
		return nil, fmt.Errorf("cert: the token's record of its login: %w", errRecord)
	}
	if !c.DisableBinding {
		if _, err := e.verify(ctx, &r.Client, name, c); err != nil {
			return nil, withCertificate(err, r.Client.Chain, c)
		}
		now := keyOf(r.Client.Chain[0])
		if subtle.ConstantTimeCompare([]byte(now), []byte(key)) != 1 {
			return nil, errOtherKey
		}
	}
	role, err := e.role(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, engines.ErrNoRenewal
	}
	if err != nil {
		return nil, err
	}
	if !samePolicies(role.Token.Policies, r.Holder.Policies) {
		return nil, engines.Failed("policies have changed, not renewing")
	}
	return role.Token.Login(), nil
}

// samePolicies compares the role's policies with the token's; the default policy does not count.
func samePolicies(role, token []string) bool {
	clean := func(names []string) []string {
		return slices.DeleteFunc(auth.CleanPolicies(names), func(n string) bool { return n == "default" })
	}
	return slices.Equal(clean(role), clean(token))
}
