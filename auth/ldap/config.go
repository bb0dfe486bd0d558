package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// config is the stored configuration of the mount.
type config struct {
	// URLs are tried in their order, separated by commas.
	URLs          string             `json:"urls"`
	TLS           tlsConfig          `json:"tls"`
	Account       account            `json:"account"`
	Users         userSearch         `json:"users"`
	Groups        groupSearch        `json:"groups"`
	CaseSensitive bool               `json:"case_sensitive"`
	Deref         string             `json:"deref"`
	Connect       time.Duration      `json:"connect"`
	Request       time.Duration      `json:"request"`
	Token         auth.TokenSettings `json:"token"`
	// Rotation is about new passwords of the account.
	Rotation rotation `json:"rotation"`
}

type tlsConfig struct {
	Start       bool   `json:"start,omitempty"`
	Insecure    bool   `json:"insecure,omitempty"`
	Min         string `json:"min"`
	Max         string `json:"max"`
	Authority   string `json:"authority,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	// Key is of Certificate.
	Key engines.Bound `json:"key,omitzero"`
}

// account is how the mount itself binds.
type account struct {
	DN       string        `json:"dn,omitempty"`
	Password engines.Bound `json:"password,omitzero"`
	// Next is the password that a rotation is about to set, or has set without being sure: see rotate.go.
	Next         engines.Bound `json:"next,omitzero"`
	DenyNullBind bool          `json:"deny_null_bind"`
}

// userSearch is how a name becomes an entry of the directory.
type userSearch struct {
	Base       string `json:"base,omitempty"`
	Attribute  string `json:"attribute"`
	Filter     string `json:"filter"`
	Discover   bool   `json:"discover,omitempty"`
	UPNDomain  string `json:"upn_domain,omitempty"`
	SAMAccount bool   `json:"sam_account,omitempty"`
	AsAlias    bool   `json:"as_alias,omitempty"`
}

// groupSearch is how an entry's groups are found.
type groupSearch struct {
	Base        string `json:"base,omitempty"`
	Attribute   string `json:"attribute"`
	Filter      string `json:"filter"`
	Anonymous   bool   `json:"anonymous,omitempty"`
	TokenGroups bool   `json:"token_groups,omitempty"`
	OldCN       bool   `json:"old_cn,omitempty"`
	// PageSize is as it was written; all groups are asked for at once unless it is above 0.
	PageSize int `json:"page_size,omitempty"`
}

type rotation struct {
	PasswordPolicy string `json:"password_policy,omitempty"`
	// URL is where the bind password is changed; "" for where people log in.
	URL string `json:"url,omitempty"`
	// What follows is about rotation by itself, which is not there: it is kept while it is disabled.
	Disabled bool          `json:"disabled,omitempty"`
	Period   time.Duration `json:"period,omitempty"`
	Schedule string        `json:"schedule,omitempty"`
	Window   time.Duration `json:"window,omitempty"`
}

// Defaults of a mount that was not configured.
const (
	defaultUserFilter  = "({{.UserAttr}}={{.Username}})"
	defaultGroupFilter = "(|(memberUid={{.Username}})(member={{.UserDN}})(uniqueMember={{.UserDN}}))"
	defaultConnect     = 30 * time.Second
	defaultRequest     = 90 * time.Second
)

func newConfig() *config {
	return &config{
		URLs: "ldap://127.0.0.1", TLS: tlsConfig{Min: "tls12", Max: "tls12"}, Account: account{DenyNullBind: true},
		Users:   userSearch{Attribute: "cn", Filter: defaultUserFilter},
		Groups:  groupSearch{Attribute: "cn", Filter: defaultGroupFilter},
		Connect: defaultConnect, Request: defaultRequest, Deref: "never",
	}
}

func (e *engine) config(ctx context.Context) (*config, error) {
	c := newConfig()
	err := e.read(ctx, configKey, c)
	if errors.Is(err, storage.ErrNotFound) {
		return newConfig(), nil
	}
	for _, credential := range c.credentials() {
		credential.Adopt(c.servers())
	}
	return c, err
}

// directories is where the passwords of users may be sent.
func (c *config) directories() engines.Destination { return c.destination(c.URLs) }

// servers is where the credentials of the mount may be sent: the bind password goes to rotation_url as well.
func (c *config) servers() engines.Destination { return c.destination(c.URLs + "," + c.Rotation.URL) }

func (c *config) destination(urls string) engines.Destination {
	t := &c.TLS
	return engines.NewDestination(strings.Split(urls, ","), strconv.FormatBool(t.Start), strconv.FormatBool(t.Insecure),
		t.Min, t.Max, t.Authority)
}

// credentials are those that the mount keeps.
func (c *config) credentials() []*engines.Bound {
	return []*engines.Bound{&c.Account.Password, &c.Account.Next, &c.TLS.Key}
}

func (e *engine) readConfig(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"url": c.URLs, "starttls": c.TLS.Start, "insecure_tls": c.TLS.Insecure, "certificate": c.TLS.Authority,
		"tls_min_version": c.TLS.Min, "tls_max_version": c.TLS.Max,
		"binddn": c.Account.DN, "deny_null_bind": c.Account.DenyNullBind,
		"userdn": c.Users.Base, "userattr": c.Users.Attribute, "userfilter": c.Users.Filter,
		"discoverdn": c.Users.Discover, "upndomain": c.Users.UPNDomain,
		"enable_samaccountname_login": c.Users.SAMAccount, "username_as_alias": c.Users.AsAlias,
		"groupdn": c.Groups.Base, "groupattr": c.Groups.Attribute, "groupfilter": c.Groups.Filter,
		"anonymous_group_search": c.Groups.Anonymous, "use_token_groups": c.Groups.TokenGroups,
		"use_pre111_group_cn_behavior": c.Groups.OldCN, "max_page_size": c.Groups.PageSize,
		"case_sensitive_names": c.CaseSensitive, "dereference_aliases": c.Deref,
		"connection_timeout": int64(c.Connect / time.Second), "request_timeout": int64(c.Request / time.Second),
		"password_policy": c.Rotation.PasswordPolicy, "rotation_url": c.Rotation.URL,
		"disable_automated_rotation": c.Rotation.Disabled, "rotation_period": int64(c.Rotation.Period / time.Second),
		"rotation_schedule": c.Rotation.Schedule, "rotation_window": int64(c.Rotation.Window / time.Second),
	}
	c.Token.Show(data)
	return &engines.Response{Data: data, Warnings: c.warnings()}, nil
}

type configParams struct {
	URLs          *string        `param:"url" as:"addresses" help:"ldap:// or ldaps:// addresses, with commas between."`
	CaseSensitive *bool          `param:"case_sensitive_names" help:"Whether names here differ by case."`
	Deref         *string        `param:"dereference_aliases" help:"never, finding, searching or always."`
	Connect       *time.Duration `param:"connection_timeout" help:"How long to wait for a connection."`
	Request       *time.Duration `param:"request_timeout" help:"How long to wait for all answers of a login."`
	DN            *string        `param:"binddn" help:"Whom to search as."`
	Password      *string        `param:"bindpass" help:"Password of binddn."`
	DenyNullBind  *bool          `param:"deny_null_bind" help:"Has no effect: empty passwords are never taken."`
	tlsParams
	userSearchParams
	groupSearchParams
	rotationParams
	auth.TokenParams
}

type tlsParams struct {
	Start       *bool   `param:"starttls" help:"Whether connections to ldap:// change to TLS."`
	Insecure    *bool   `param:"insecure_tls" help:"Whether any certificate of the directory is taken."`
	Authority   *string `param:"certificate" help:"Authority of the directory's certificate, in PEM."`
	Certificate *string `param:"client_tls_cert" help:"Certificate to show to the directory, in PEM."`
	Key         *string `param:"client_tls_key" help:"Key of client_tls_cert, in PEM."`
	Min         *string `param:"tls_min_version" help:"tls12 or tls13."`
	Max         *string `param:"tls_max_version" help:"tls12 or tls13."`
}

type userSearchParams struct {
	Base       *string `param:"userdn" help:"Where people are."`
	Attribute  *string `param:"userattr" as:"name" help:"Attribute with the name that people log in with."`
	Filter     *string `param:"userfilter" help:"Filter that finds a person, with {{.UserAttr}} and {{.Username}}."`
	Discover   *bool   `param:"discoverdn" help:"Whether people are searched for also without bindpass."`
	UPNDomain  *string `param:"upndomain" help:"Domain of names of the form name@domain."`
	SAMAccount *bool   `param:"enable_samaccountname_login" help:"Whether sAMAccountName counts beside upndomain."`
	AsAlias    *bool   `param:"username_as_alias" help:"Whether identity knows people by the name they logged in with."`
}

type groupSearchParams struct {
	Base        *string `param:"groupdn" help:"Where groups are."`
	Attribute   *string `param:"groupattr" as:"name" help:"Attribute with the group's name."`
	Filter      *string `param:"groupfilter" help:"Filter that finds groups, with {{.UserDN}} and {{.Username}}."`
	Anonymous   *bool   `param:"anonymous_group_search" help:"Whether groups are searched for anonymously."`
	TokenGroups *bool   `param:"use_token_groups" help:"Whether groups are read from tokenGroups (Active Directory)."`
	OldCN       *bool   `param:"use_pre111_group_cn_behavior" help:"Whether only CN in upper case names a group."`
	PageSize    *int    `param:"max_page_size" help:"How many groups to ask for at a time; 0 or less for all."`
}

type rotationParams struct {
	PasswordPolicy *string        `param:"password_policy" help:"Policy of new passwords; empty for 384 random bits."`
	URL            *string        `param:"rotation_url" as:"addresses" help:"Address for changing the bind password."`
	Disabled       *bool          `param:"disable_automated_rotation" help:"Rotation by itself is not there anyway."`
	Period         *time.Duration `param:"rotation_period" help:"Kept while automated rotation is disabled."`
	Schedule       *string        `param:"rotation_schedule" help:"Kept while automated rotation is disabled."`
	Window         *time.Duration `param:"rotation_window" help:"Kept while automated rotation is disabled."`
}

func (e *engine) writeConfig(ctx context.Context, _ *engines.Request, p configParams) (*engines.Response, error) {
	return keylock.Write(ctx, e.locks, configKey, func(ctx context.Context) (*engines.Response, error) {
		c, err := e.config(ctx)
		if err != nil {
			return nil, err
		}
		p.apply(c)
		forgotten := c.forget()
		if err := c.check(); err != nil {
			return nil, err
		}
		if err := p.checkRotation(c); err != nil {
			return nil, err
		}
		if err := c.Token.Set(p.TokenParams, auth.OldTokenParams{}); err != nil {
			return nil, err
		}
		if err := e.put(ctx, configKey, c); err != nil {
			return nil, err
		}
		return &engines.Response{Warnings: append(forgotten, c.warnings()...)}, nil
	})
}

// forget drops the credentials that were given for other servers, and tells which.
func (c *config) forget() (warnings []string) {
	const why = " forgotten, because url, rotation_url or a TLS setting has changed and it was not sent along; " +
		"write it again"
	to := c.servers()
	next := c.Account.Next.Forget(to)
	if c.Account.Password.Forget(to) || next {
		warnings = append(warnings, "bindpass was"+why)
	}
	if c.TLS.Key.Forget(to) {
		c.TLS.Certificate = ""
		warnings = append(warnings, "client_tls_key, and client_tls_cert with it, was"+why)
	}
	return warnings
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// setLower is set for what has one spelling.
func setLower(to, from *string) {
	if from != nil {
		*to = engines.FoldASCII(*from)
	}
}

func (p *configParams) apply(c *config) {
	setLower(&c.URLs, p.URLs)
	set(&c.CaseSensitive, p.CaseSensitive)
	set(&c.Deref, p.Deref)
	set(&c.Connect, p.Connect)
	set(&c.Request, p.Request)
	if p.DN != nil || p.Password != nil {
		c.Account.Next = engines.Bound{} // what a rotation left is about the account as it was
	}
	set(&c.Account.DN, p.DN)
	set(&c.Account.DenyNullBind, p.DenyNullBind)
	set(&c.TLS.Start, p.Start)
	set(&c.TLS.Insecure, p.Insecure)
	set(&c.TLS.Authority, p.Authority)
	set(&c.TLS.Certificate, p.Certificate)
	set(&c.TLS.Min, p.Min)
	set(&c.TLS.Max, p.Max)
	u, g := &p.userSearchParams, &p.groupSearchParams
	set(&c.Users.Base, u.Base)
	setLower(&c.Users.Attribute, u.Attribute)
	set(&c.Users.Filter, u.Filter)
	set(&c.Users.Discover, u.Discover)
	set(&c.Users.UPNDomain, u.UPNDomain)
	set(&c.Users.SAMAccount, u.SAMAccount)
	set(&c.Users.AsAlias, u.AsAlias)
	set(&c.Groups.Base, g.Base)
	set(&c.Groups.Attribute, g.Attribute)
	set(&c.Groups.Filter, g.Filter)
	set(&c.Groups.Anonymous, g.Anonymous)
	set(&c.Groups.TokenGroups, g.TokenGroups)
	set(&c.Groups.OldCN, g.OldCN)
	set(&c.Groups.PageSize, g.PageSize)
	r := &p.rotationParams
	set(&c.Rotation.PasswordPolicy, r.PasswordPolicy)
	set(&c.Rotation.URL, r.URL)
	set(&c.Rotation.Disabled, r.Disabled)
	set(&c.Rotation.Period, r.Period)
	set(&c.Rotation.Schedule, r.Schedule)
	set(&c.Rotation.Window, r.Window)
	// What was sent along is for the servers as they are now.
	if p.Password != nil {
		c.Account.Password = engines.Bind(*p.Password, c.servers())
	}
	if p.Key != nil {
		c.TLS.Key = engines.Bind(*p.Key, c.servers())
	}
}

// tlsVersions are the names of versions. Older ones than 1.2 are not spoken: as a lower bound they stand for it.
var tlsVersions = []string{"tls10", "tls11", "tls12", "tls13"}

// check refuses what could not serve a login.
func (c *config) check() error {
	if _, err := c.userFilter(); err != nil {
		return engines.Invalid("invalid userfilter: %v", err)
	}
	if _, err := c.groupFilter(); err != nil {
		return engines.Invalid("invalid groupfilter: %v", err)
	}
	if c.TLS.Authority != "" && parseAuthority(c.TLS.Authority) == nil {
		return engines.Invalid("failed to parse server tls cert: failed to decode PEM block in the certificate")
	}
	if (c.TLS.Certificate == "") != c.TLS.Key.IsZero() {
		return engines.Invalid("both client_tls_cert and client_tls_key must be set")
	}
	if c.TLS.Certificate != "" {
		if _, err := c.clientPair(); err != nil {
			return engines.Invalid("failed to parse client X509 key pair: %v", err)
		}
	}
	switch lowest, highest := slices.Index(tlsVersions, c.TLS.Min), slices.Index(tlsVersions, c.TLS.Max); {
	case lowest < 0:
		return engines.Invalid("invalid 'tls_min_version'")
	case highest < slices.Index(tlsVersions, "tls12"):
		return engines.Invalid("invalid 'tls_max_version'")
	case highest < lowest:
		return engines.Invalid("'tls_max_version' must be greater than or equal to 'tls_min_version'")
	}
	if _, ok := derefOf(c.Deref); !ok {
		return engines.Invalid("invalid 'dereference_aliases'")
	}
	return nil
}

// clientPair is the certificate to show to the servers.
func (c *config) clientPair() (tls.Certificate, error) {
	return tls.X509KeyPair([]byte(c.TLS.Certificate), []byte(c.TLS.Key.For(c.servers())))
}

// parseAuthority is the pool with the authority's certificate, nil when there is none in the text.
func parseAuthority(text string) *x509.CertPool {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(text)) {
		return nil
	}
	return pool
}

// warnings tell of what is probably a mistake.
func (c *config) warnings() []string {
	f := c.Users.Filter
	if f == "" || strings.Contains(f, "{{.UserAttr}}") || strings.Contains(f, c.Users.Attribute) {
		return nil
	}
	return []string{userFilterWarning}
}

const userFilterWarning = "userfilter configured does not consider userattr and may result in colliding entity " +
	"aliases on logins"

// userFilter is the filter that finds a person; "" stands for the default.
func (c *config) userFilter() (filter, error) {
	text := c.Users.Filter
	if text == "" {
		text = defaultUserFilter
	}
	return parseFilter(text, "UserAttr", "Username")
}

// groupFilter is the filter that finds groups, empty when they are not searched for.
func (c *config) groupFilter() (filter, error) {
	if c.Groups.Filter == "" {
		return filter{}, nil
	}
	return parseFilter(c.Groups.Filter, "UserDN", "Username")
}
