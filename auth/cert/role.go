package cert

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// role is a trusted certificate, what else a client's certificate must have, and what its logins get.
type role struct {
	// Name is in lower case.
	Name string `json:"name"`
	// Certificate is PEM as it was written: one certificate, or several of which the first decides what kind
	// of role this is.
	Certificate string             `json:"certificate"`
	DisplayName string             `json:"display_name"`
	Needs       constraints        `json:"needs"`
	OCSP        ocspSettings       `json:"ocsp"`
	Token       auth.TokenSettings `json:"token"`
}

// constraints are globs of which at least one of each list must match. A list that was never set is nil, and
// shown as null.
type constraints struct {
	Names             []string `json:"names"`
	CommonNames       []string `json:"common_names"`
	DNS               []string `json:"dns"`
	Emails            []string `json:"emails"`
	URIs              []string `json:"uris"`
	Units             []string `json:"units"`
	Organizations     []string `json:"organizations"`
	Extensions        []string `json:"extensions"`
	MetadataExtension []string `json:"metadata_extensions"`
}

// ocspSettings say how a role asks whether a certificate was revoked.
type ocspSettings struct {
	Enabled    bool          `json:"enabled,omitempty"`
	CAs        string        `json:"cas,omitempty"`
	Servers    []string      `json:"servers"`
	FailOpen   bool          `json:"fail_open,omitempty"`
	QueryAll   bool          `json:"query_all,omitempty"`
	MaxAge     time.Duration `json:"max_age,omitempty"`
	MaxRetries int           `json:"max_retries"`
}

// defaultRetries is how often an OCSP server is asked again.
const defaultRetries = 4

type roleParams struct {
	Name        string  `path:"name" help:"Name of the role."`
	Certificate *string `param:"certificate" help:"The trusted certificate, in PEM."`
	DisplayName *string `param:"display_name" help:"Display name of the tokens; the role's name by default."`
	constraintParams
	ocspParams
	auth.TokenParams
	oldParams
}

type constraintParams struct {
	Names         *[]string `param:"allowed_names" help:"Globs of a common name, DNS name or e-mail address."`
	CommonNames   *[]string `param:"allowed_common_names" help:"Globs of the common name."`
	DNS           *[]string `param:"allowed_dns_sans" help:"Globs of a DNS name."`
	Emails        *[]string `param:"allowed_email_sans" help:"Globs of an e-mail address."`
	URIs          *[]string `param:"allowed_uri_sans" help:"Globs of a URI."`
	Units         *[]string `param:"allowed_organizational_units" help:"Globs of an organizational unit."`
	Organizations *[]string `param:"allowed_organizations" help:"Globs of an organization."`
	Extensions    *[]string `param:"required_extensions" help:"Extensions as oid:glob or hex:oid:glob; all must match."`
	Metadata      *[]string `param:"allowed_metadata_extensions" help:"OIDs whose values become metadata of the token."`
}

type ocspParams struct {
	Enabled    *bool          `param:"ocsp_enabled" help:"Whether OCSP servers are asked about certificates."`
	CAs        *string        `param:"ocsp_ca_certificates" help:"Further authorities of OCSP servers, in PEM."`
	Servers    *[]string      `param:"ocsp_servers_override" help:"Addresses to ask instead of the certificate's."`
	FailOpen   *bool          `param:"ocsp_fail_open" help:"Whether servers that cannot be reached are passed over."`
	QueryAll   *bool          `param:"ocsp_query_all_servers" help:"Whether all servers must agree."`
	MaxAge     *time.Duration `param:"ocsp_this_update_max_age" help:"How old an answer may be; 0 for as it says."`
	MaxRetries *int           `param:"ocsp_max_retries" help:"How often a server is asked again. Default 4."`
}

// oldParams are the older names that this method knows.
type oldParams struct {
	BoundCIDRs *[]string      `param:"bound_cidrs" old:"token_bound_cidrs" as:"network"`
	MaxTTL     *time.Duration `param:"max_ttl" old:"token_max_ttl"`
	Period     *time.Duration `param:"period" old:"token_period"`
	Policies   *[]string      `param:"policies" old:"token_policies" as:"name"`
	TTL        *time.Duration `param:"ttl" old:"token_ttl"`
	Lease      *int           `param:"lease" old:"token_ttl" as:"duration"`
}

func (p *oldParams) shared() (auth.OldTokenParams, error) {
	old := auth.OldTokenParams{
		BoundCIDRs: p.BoundCIDRs, MaxTTL: p.MaxTTL, Period: p.Period, Policies: p.Policies, TTL: p.TTL,
	}
	if old.TTL == nil && p.Lease != nil && *p.Lease >= 0 {
		ttl, err := engines.Seconds(int64(*p.Lease))
		if err != nil {
			return old, engines.Invalid("lease: %v", err)
		}
		old.TTL = &ttl
	}
	return old, nil
}

// role reads a role, or returns storage.ErrNotFound.
func (e *engine) role(ctx context.Context, name string) (*role, error) {
	r := &role{}
	return r, e.read(ctx, roleFolder+name, r)
}

// nameOf is the name of a role or a revocation list that a path means; names differ in more than case.
func nameOf(p string) (string, error) {
	if !auth.ValidName(p) {
		return "", engines.ErrUnsupportedPath
	}
	return engines.FoldASCII(p), nil
}

func (e *engine) listRoles(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	return e.list(ctx, roleFolder)
}

func (e *engine) deleteRole(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	defer e.trust.forget()
	return &engines.Response{}, e.storage.Apply(ctx, storage.Delete(roleFolder+name))
}

func (e *engine) readRole(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	r, err := e.role(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"certificate":                  r.Certificate,
		"display_name":                 r.DisplayName,
		"allowed_names":                r.Needs.Names,
		"allowed_common_names":         r.Needs.CommonNames,
		"allowed_dns_sans":             r.Needs.DNS,
		"allowed_email_sans":           r.Needs.Emails,
		"allowed_uri_sans":             r.Needs.URIs,
		"allowed_organizational_units": r.Needs.Units,
		"allowed_organizations":        r.Needs.Organizations,
		"required_extensions":          r.Needs.Extensions,
		"allowed_metadata_extensions":  r.Needs.MetadataExtension,
		"ocsp_enabled":                 r.OCSP.Enabled,
		"ocsp_ca_certificates":         r.OCSP.CAs,
		"ocsp_servers_override":        r.OCSP.Servers,
		"ocsp_fail_open":               r.OCSP.FailOpen,
		"ocsp_query_all_servers":       r.OCSP.QueryAll,
		"ocsp_this_update_max_age":     int64(r.OCSP.MaxAge / time.Second),
		"ocsp_max_retries":             r.OCSP.MaxRetries,
	}
	r.Token.Show(data)
	return &engines.Response{Data: data}, nil
}

func (e *engine) writeRole(ctx context.Context, _ *engines.Request, p roleParams) (*engines.Response, error) {
	name, err := nameOf(p.Name)
	if err != nil {
		return nil, err
	}
	return keylock.Write(ctx, e.locks, roleFolder+name, func(ctx context.Context) (*engines.Response, error) {
		r, err := e.role(ctx, name)
		if errors.Is(err, storage.ErrNotFound) {
			r, err = &role{Name: name, OCSP: ocspSettings{MaxRetries: defaultRetries}}, nil
		}
		if err != nil {
			return nil, err
		}
		if err := p.apply(r); err != nil {
			return nil, err
		}
		if err := r.check(); err != nil {
			return nil, err
		}
		op, err := put(roleFolder+name, r)
		if err != nil {
			return nil, err
		}
		if err := e.storage.Apply(ctx, op); err != nil {
			return nil, err
		}
		e.trust.forget()
		return &engines.Response{Warnings: e.warnings(r)}, nil
	})
}

// apply puts in what was sent.
func (p *roleParams) apply(r *role) error {
	set(&r.Certificate, p.Certificate)
	set(&r.DisplayName, p.DisplayName)
	if r.DisplayName == "" {
		r.DisplayName = r.Name
	}
	set(&r.OCSP.Enabled, p.Enabled)
	set(&r.OCSP.CAs, p.CAs)
	set(&r.OCSP.Servers, p.Servers)
	set(&r.OCSP.FailOpen, p.FailOpen)
	set(&r.OCSP.QueryAll, p.QueryAll)
	set(&r.OCSP.MaxAge, p.MaxAge)
	set(&r.OCSP.MaxRetries, p.MaxRetries)
	if r.OCSP.MaxRetries < 0 {
		return engines.Failed("%s", engines.Numbered("ocsp_max_retries can not be a negative number"))
	}
	set(&r.Needs.Names, p.Names)
	set(&r.Needs.CommonNames, p.CommonNames)
	set(&r.Needs.DNS, p.DNS)
	set(&r.Needs.Emails, p.Emails)
	set(&r.Needs.URIs, p.URIs)
	set(&r.Needs.Units, p.Units)
	set(&r.Needs.Organizations, p.Organizations)
	set(&r.Needs.Extensions, p.Extensions)
	set(&r.Needs.MetadataExtension, p.Metadata)
	old, err := p.shared()
	if err != nil {
		return err
	}
	if err := r.Token.Set(p.TokenParams, old); err != nil {
		return err
	}
	if r.Token.MaxTTL > 0 && r.Token.TTL > r.Token.MaxTTL {
		return engines.Invalid("ttl should be shorter than max_ttl")
	}
	return nil
}

// check refuses a role that could let nobody in.
func (r *role) check() error {
	certs := parseCertificates(r.Certificate)
	if len(certs) == 0 {
		return engines.Invalid("failed to parse certificate")
	}
	usage := certs[0].ExtKeyUsage
	if !certs[0].IsCA && usage != nil &&
		!slices.Contains(usage, x509.ExtKeyUsageClientAuth) && !slices.Contains(usage, x509.ExtKeyUsageAny) {
		return engines.Invalid(
			"nonCA certificates should have TLS client authentication set as an extended key usage")
	}
	return nil
}

// warnings tell of lives that the mount will cut short.
func (e *engine) warnings(r *role) (texts []string) {
	standard, longest := e.ttls.DefaultTTL(), e.ttls.MaxTTL()
	seconds := func(d time.Duration) int64 { return int64(d / time.Second) }
	if d := r.Token.TTL; d > standard {
		texts = append(texts, fmt.Sprintf(
			"Given ttl of %d seconds is greater than current mount/system default of %d seconds",
			seconds(d), seconds(standard)))
	}
	if d := r.Token.MaxTTL; d > longest {
		texts = append(texts, fmt.Sprintf(
			"Given max_ttl of %d seconds is greater than current mount/system default of %d seconds",
			seconds(d), seconds(longest)))
	}
	if d := r.Token.Period; d > longest {
		texts = append(texts, fmt.Sprintf(
			"Given period of %d seconds is greater than the backend's maximum TTL of %d seconds",
			seconds(d), seconds(longest)))
	}
	return texts
}

// parseCertificates reads the certificates in a PEM text and passes over everything else, as Vault does.
func parseCertificates(text string) (certs []*x509.Certificate) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return certs
		}
		if (block.Type != "CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE") || len(block.Headers) != 0 {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, cert)
		}
	}
}
