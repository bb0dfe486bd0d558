package ldap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
)

// refused is the answer to a name that does not exist and to a wrong password alike. The server counts both, and
// learns which it was.
func refused(known bool) error { return engines.BadCredentials(known, "invalid credentials") }

// Other refusals of a login.
var (
	errNullBind = engines.Failed("password cannot be of zero length when passwordless binds are being denied")
	errTrouble  = engines.Failed("the LDAP directory cannot be asked; the server's log tells why")
	errAlias    = engines.Failed("missing entity alias attribute value")
)

// errElsewhere refuses a renewal that would send the password to servers that the user did not give it to.
var errElsewhere = engines.Denied("url or a TLS setting of the directory has changed since this login: log in again")

// What is kept with a token for its renewal: the user's password, and which servers it was given to.
const (
	internalPassword = "password"
	internalServers  = "servers"
)

// errUser is returned for somebody the directory does not let in, and errNobody, which is one, for a name that is
// nobody's. Everything else that goes wrong is trouble with the directory or the configuration.
var (
	errUser   = errors.New("the directory does not know the user or the password")
	errNobody = fmt.Errorf("%w: nobody, or not one alone, has the name", errUser)
)

// maxPassword bounds passwords in bytes.
const maxPassword = 4096

type loginParams struct {
	Username string `path:"username" help:"Name of the user in the directory."`
	Password string `param:"password" help:"Password of the user."`
}

// alias is one name for all the spellings that a directory takes for it: failed logins are counted by it. Here one for
// too many is better than one for too few.
func (p loginParams) alias() string { return strings.ToLower(plain(p.Username)) }

func (e *engine) login(ctx context.Context, r *engines.Request, p loginParams) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	if !c.Token.Admits(r.Client.Addr) {
		return nil, engines.ErrDenied
	}
	login, err := e.authenticate(ctx, c, p.Username, p.Password)
	if err != nil {
		return nil, err
	}
	granted, to := *login, c.directories()
	login.StillGood = func(ctx context.Context) error { return e.again(ctx, p, to, &granted) }
	return &engines.Response{Data: map[string]any{}, Login: login}, nil
}

// again asks the directory once more, for a login that waited: it must grant the same. The password goes to no other
// servers than to those of the login.
func (e *engine) again(ctx context.Context, p loginParams, to engines.Destination, granted *engines.Login) error {
	c, err := e.config(ctx)
	if err != nil {
		return err
	}
	if c.directories() != to {
		return auth.ErrChanged
	}
	now, err := e.authenticate(ctx, c, p.Username, p.Password)
	if err != nil {
		return err
	}
	before := *granted
	for _, login := range []*engines.Login{now, &before} {
		login.GroupAliases = slices.Sorted(slices.Values(login.GroupAliases)) // the directory has no order
	}
	if !reflect.DeepEqual(now, &before) {
		return auth.ErrChanged
	}
	return nil
}

// RenewLogin implements engines.LoginRenewer: it asks the directory again, so that a token of somebody who has
// left, or whose password or groups have changed, is not renewed. The password goes to no other servers than to those
// that it was given for.
func (e *engine) RenewLogin(ctx context.Context, r *engines.Renewal) (*engines.Login, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	if r.Internal[internalServers] != c.directories().String() {
		return nil, errElsewhere
	}
	username, password := r.Holder.Metadata["username"], ""
	if text, ok := r.Internal[internalPassword].(string); ok {
		password = text
	}
	login, err := e.authenticate(ctx, c, username, password)
	if errors.Is(err, engines.ErrInvalid) {
		return nil, engines.Invalid("1 error occurred:\n\t* failed to renew entry: %v\n\n", err)
	}
	if err != nil {
		return nil, err
	}
	if !samePolicies(login.Policies, r.Holder.Policies) {
		return nil, engines.Failed("policies have changed, not renewing")
	}
	return login, nil
}

// samePolicies compares the policies of the directory's answer with the token's; the default policy does not count.
func samePolicies(now, token []string) bool {
	clean := func(names []string) []string {
		return slices.DeleteFunc(auth.CleanPolicies(names), func(n string) bool { return n == "default" })
	}
	return slices.Equal(clean(now), clean(token))
}

// authenticate lets the directory decide, and gathers what the user gets. The error is what the client is told.
func (e *engine) authenticate(ctx context.Context, c *config, username, password string) (*engines.Login, error) {
	switch {
	case password == "":
		// A directory takes a bind without a password for an anonymous one, and says yes.
		return nil, errNullBind
	case len(username) > maxName, len(password) > maxPassword, !utf8.ValidString(username), holdsControl(username):
		return nil, refused(false)
	}
	if username = plain(username); username == "" || len(username) > maxName {
		return nil, refused(false)
	}
	ctx, cancel := context.WithTimeout(ctx, c.requestTimeout())
	defer cancel()
	pending := c.Account.Next
	who, err := identify(ctx, c, username, password)
	if !pending.IsZero() && c.Account.Next.IsZero() {
		e.adopt(ctx, pending)
	}
	switch {
	case errors.Is(err, errUser):
		e.log.Debug("a login was refused", slog.String("username", username), slog.Any("error", err))
		return nil, refused(!errors.Is(err, errNobody))
	case errors.Is(err, errNoAlias):
		e.log.Error("a login failed", slog.String("username", username), slog.Any("error", err))
		return nil, errAlias
	case err != nil:
		e.log.Error("the directory cannot be asked", slog.Any("error", err))
		return nil, errTrouble
	}
	groups, policies, err := e.mapped(ctx, c, who)
	if err != nil {
		return nil, err
	}
	login := c.Token.Login()
	login.Policies = auth.CleanPolicies(slices.Concat(c.Token.Policies, policies))
	login.DisplayName, login.Alias, login.GroupAliases = username, who.alias, groups
	login.Metadata = map[string]string{"username": username}
	login.AliasMetadata = map[string]string{
		"name": username, "rawUsername": username, "effectiveUsername": who.alias}
	if login.Type != engines.BatchToken {
		login.Internal = map[string]any{internalPassword: password, internalServers: c.directories().String()}
	}
	return login, nil
}

// mapped are all groups of a person, and the policies of these and of his entry here.
func (e *engine) mapped(ctx context.Context, c *config, who *person) (groups, policies []string, err error) {
	var u user
	err = e.lookup(ctx, userFolder, who.name, c, &u)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, nil, err
	}
	groups, ofUser := append(u.Groups, who.groups...), u.Policies
	keys := map[string]bool{}
	for _, name := range groups {
		// A name that cannot be stored has no policies here.
		if key, err := keyOf(groupFolder, name, c); err == nil {
			keys[key] = true
		}
	}
	stored, err := e.storage.List(ctx, groupFolder, "", 0)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range stored {
		if !keys[groupFolder+name] {
			continue
		}
		var g group
		if err := e.read(ctx, groupFolder+name, &g); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, nil, err
		}
		policies = append(policies, g.Policies...)
	}
	return groups, append(policies, ofUser...), nil
}

// person is whom the directory let in.
type person struct {
	// name is how he is called at users/, alias how identity knows him.
	name, alias string
	// groups are the names of his groups in the directory, each once.
	groups []string
}

// Trouble with what a directory says.
var (
	errService = errors.New("binddn is not let in")
	// errNotTheirs is returned for a record that did not come from writeConfig, which forgets such a password.
	errNotTheirs = errors.New("the stored bindpass was given for other servers")
	errNoAlias   = errors.New("the user's entry lacks the attribute of userattr")
	errNoDN      = errors.New("neither binddn, discoverdn, upndomain nor userdn says where to find users")
)

// identify binds as the user, which is what proves the password, and reads who he is.
func identify(ctx context.Context, c *config, username, password string) (*person, error) {
	d, err := connect(ctx, c, c.URLs)
	if err != nil {
		return nil, err
	}
	defer d.close()
	bindDN, err := d.bindName(username)
	if errors.Is(err, errNobody) && c.Users.Base != "" {
		// As long as a wrong password takes. What comes of it does not count.
		_ = d.bind(c.Users.Attribute+"="+goldap.EscapeDN(username)+","+c.Users.Base, password)
	}
	if err != nil {
		return nil, err
	}
	if err := d.bind(bindDN, password); err != nil {
		return nil, userError(err)
	}
	// From here on the password is proven, and what fails is the directory's or the operator's.
	if c.service() {
		if err := d.bindService(); err != nil {
			return nil, err
		}
	}
	dn, err := d.entryName(bindDN, username)
	if err != nil {
		return nil, err
	}
	who, err := d.describe(dn, username)
	if err != nil {
		return nil, err
	}
	if c.Groups.Anonymous {
		if err := d.conn.UnauthenticatedBind(""); err != nil {
			return nil, fmt.Errorf("anonymous bind: %w", err)
		}
	}
	who.groups, err = d.groups(dn, username)
	return who, err
}

// bind never binds anonymously.
func (d *directory) bind(dn, password string) error {
	if dn == "" || password == "" {
		return goldap.NewError(goldap.LDAPResultInvalidCredentials, errUser)
	}
	return d.conn.Bind(dn, password)
}

// userError tells a user who is not let in from a directory that does not answer.
func userError(err error) error {
	var result *goldap.Error
	if errors.As(err, &result) {
		switch result.ResultCode {
		case goldap.LDAPResultInvalidCredentials, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInvalidDNSyntax,
			goldap.LDAPResultInappropriateAuthentication, goldap.LDAPResultConstraintViolation,
			goldap.LDAPResultInsufficientAccessRights, goldap.LDAPResultUnwillingToPerform:
			return fmt.Errorf("%w: %w", errUser, err)
		}
	}
	return err
}

// service reports whether the mount has an account of its own to search as.
func (c *config) service() bool { return c.Account.DN != "" && !c.Account.Password.IsZero() }

// bindName is the name to bind as. It is errNobody when nobody, or more than one, is found.
func (d *directory) bindName(username string) (string, error) {
	c := d.config
	switch {
	case c.service() || c.Users.Discover:
		if err := d.bindService(); err != nil {
			return "", err
		}
		f, err := c.userFilter()
		if err != nil {
			return "", err
		}
		values := map[string]string{"UserAttr": c.Users.Attribute, "Username": username}
		if c.Users.UPNDomain != "" {
			values = map[string]string{"UserAttr": "userPrincipalName", "Username": username + "@" + c.Users.UPNDomain}
		}
		return d.only(f.with(values))
	case c.Users.UPNDomain != "":
		return goldap.EscapeDN(username) + "@" + c.Users.UPNDomain, nil
	case c.Users.Base != "":
		return c.Users.Attribute + "=" + goldap.EscapeDN(username) + "," + c.Users.Base, nil
	default:
		return "", errNoDN
	}
}

// bindService binds as the mount's own account or, without its password, as nobody.
func (d *directory) bindService() error {
	var err error
	to := d.config.servers()
	switch a := &d.config.Account; {
	case a.Password.IsZero():
		err = d.conn.UnauthenticatedBind(a.DN)
	case a.Password.For(to) == "":
		err = errNotTheirs
	default:
		err = d.bind(a.DN, a.Password.For(to))
		if !a.Next.IsZero() && goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials) {
			if err = d.bind(a.DN, a.Next.For(to)); err == nil {
				a.Password, a.Next = a.Next, engines.Bound{} // a rotation has set it and was cut off: see adopt
			}
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errService, err)
	}
	return nil
}

// only is the name of the one entry that matches.
func (d *directory) only(filter string) (string, error) {
	found, err := d.search(d.config.Users.Base, goldap.ScopeWholeSubtree, filter, []string{noAttributes}, 2, 0)
	switch {
	case goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded), errors.Is(err, goldap.ErrSizeLimitExceeded),
		len(found) > 1:
		return "", errNobody
	case err != nil:
		return "", fmt.Errorf("search for the user: %w", err)
	case len(found) == 0:
		return "", errNobody
	}
	return found[0].DN, nil
}

// entryName is the name of the user's entry, which a name of the form user@domain has to be looked up for.
func (d *directory) entryName(bindDN, username string) (string, error) {
	u := &d.config.Users
	if u.UPNDomain == "" {
		return bindDN, nil
	}
	name := goldap.EscapeFilter(username)
	filter := "(userPrincipalName=" + name + "@" + goldap.EscapeFilter(u.UPNDomain) + ")"
	if u.SAMAccount {
		filter = "(|" + filter + "(sAMAccountName=" + name + "))"
	}
	return d.only(filter)
}

// describe reads what the user is called. Identity gets a name that the directory wrote, not one of the many
// spellings that the directory takes for it: they would be as many people.
func (d *directory) describe(dn, username string) (*person, error) {
	u := &d.config.Users
	found, err := d.search(dn, goldap.ScopeBaseObject, anything, []string{u.Attribute}, 1, 0)
	if err != nil {
		return nil, fmt.Errorf("read the user's entry: %w", err)
	}
	who := &person{name: username}
	if len(found) == 1 {
		who.alias, dn = found[0].GetEqualFoldAttributeValue(u.Attribute), found[0].DN
	}
	if u.AsAlias {
		parsed, err := goldap.ParseDN(dn)
		if err != nil {
			return nil, fmt.Errorf("name of the user's entry: %w", err)
		}
		if value, ok := attributeOf(parsed, u.Attribute); ok {
			who.alias = value
		}
		who.name = who.alias
		if !d.config.CaseSensitive {
			who.alias = engines.FoldLetters(who.alias)
		}
	}
	if who.alias == "" {
		return nil, errNoAlias
	}
	return who, nil
}

// attributeOf is the first value of an attribute in a name.
func attributeOf(dn *goldap.DN, name string) (string, bool) {
	for _, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			if strings.EqualFold(a.Type, name) {
				return a.Value, true
			}
		}
	}
	return "", false
}
