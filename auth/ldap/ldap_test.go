package ldap_test

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/auth/ldap"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

type fixedTTLs struct{}

func (fixedTTLs) DefaultTTL() time.Duration { return 768 * time.Hour }
func (fixedTTLs) MaxTTL() time.Duration     { return 768 * time.Hour }

// mount is the engine with what a server has around it.
// passwordPolicies has the one password that each policy makes.
type passwordPolicies map[string]string

func (p passwordPolicies) Password(_ context.Context, policy string) (string, error) {
	if password, ok := p[policy]; ok {
		return password, nil
	}
	return "", engines.Invalid("there is no password policy %q", policy)
}

type mount struct {
	engine engines.Engine
	router *engines.Router
	log    *strings.Builder
}

func newMount(t testing.TB, s storage.Storage) *mount {
	t.Helper()
	if s == nil {
		s = memory.New()
	}
	m := &mount{log: &strings.Builder{}}
	var err error
	m.engine, err = ldap.Factory(t.Context(), engines.Config{
		Mount: engines.Mount{Path: "auth/ldap/", Type: "ldap"}, Storage: s,
		Logger: slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:    time.Now, TTLs: fixedTTLs{}, Passwords: passwordPolicies{"strong": "made-by-policy"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.router, err = engines.NewRouter(m.engine); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mount) call(
	ctx context.Context, op engines.Operation, path string, params map[string]any,
) (*engines.Response, error) {
	match, ok := m.router.Match(ctx, op, path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	return match.Call(ctx, &engines.Request{Operation: op, Path: path, Params: params,
		Client: engines.Client{Addr: netip.MustParseAddr("127.0.0.1")}})
}

func (m *mount) write(t testing.TB, path string, params map[string]any) {
	t.Helper()
	if _, err := m.call(t.Context(), engines.Update, path, params); err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

func (m *mount) login(ctx context.Context, username, password string) (*engines.Login, error) {
	resp, err := m.call(ctx, engines.Update, "login/"+username, map[string]any{"password": password})
	if err != nil {
		return nil, err
	}
	return resp.Login, nil
}

// searching is the usual configuration: an account that searches for people.
func searching(d *directory, more map[string]any) map[string]any {
	c := map[string]any{"url": "ldap://" + d.plain, "binddn": readerDN, "bindpass": readerPass, "userdn": people,
		"userattr": "uid", "groupdn": groupsDN, "token_policies": "everybody"}
	maps.Copy(c, more)
	return c
}

const (
	refused = "invalid credentials"
	trouble = "the LDAP directory cannot be asked; the server's log tells why"
)

// outcome is what came of a login, in one line.
func outcome(l *engines.Login, err error) string {
	if err != nil {
		return err.Error()
	}
	groups := slices.Sorted(slices.Values(l.GroupAliases))
	return l.Alias + ": " + strings.Join(l.Policies, " ") + "; " + strings.Join(groups, " ")
}

// loginCase is a login and what comes of it, with either directory.
type loginCase struct {
	config             map[string]any
	username, password string
	want               string
}

const alice = "alice: developers everybody of-alice operators posixes; Dev ops posix"

func loginCases() map[string]loginCase {
	asAlias := map[string]any{"binddn": "", "bindpass": "", "username_as_alias": true}
	direct := map[string]any{"binddn": "", "bindpass": ""}
	return map[string]loginCase{
		"by search":                      {nil, "alice", "wonderland", alice},
		"another user":                   {nil, "bob", "builder", "bob: everybody operators; ops"},
		"a user without groups":          {nil, "carol", "carols", "carol: everybody; "},
		"a user with groups of his here": {nil, "eve", "apple", "eve: everybody operators; ops"},
		"in other case":                  {nil, "ALICE", "wonderland", "alice: developers everybody of-alice operators; Dev ops"},
		"a wrong password":               {nil, "alice", "builder", refused},
		"a password in other case":       {nil, "alice", "Wonderland", refused},
		"an unknown user":                {nil, "nobody", "wonderland", refused},
		"an empty password":              {nil, "alice", "", "password cannot be of zero length when passwordless binds are being denied"},
		"an empty password though allowed": {map[string]any{"deny_null_bind": false}, "alice", "",
			"password cannot be of zero length when passwordless binds are being denied"},
		"an unknown user, empty password": {nil, "nobody", "", "password cannot be of zero length when passwordless binds are being denied"},
		"by name alone":                   {direct, "alice", "wonderland", alice},
		"by name alone, wrong":            {direct, "alice", "x", refused},
		"by name alone, unknown":          {direct, "nobody", "x", refused},
		"by anonymous search":             {map[string]any{"bindpass": "", "binddn": "", "discoverdn": true}, "alice", "wonderland", alice},
		"groups by anonymous search":      {map[string]any{"anonymous_group_search": true}, "alice", "wonderland", alice},
		"a page at a time":                {map[string]any{"max_page_size": "1"}, "alice", "wonderland", alice},
		"no pages":                        {map[string]any{"max_page_size": "-1"}, "alice", "wonderland", alice},
		"filters in a row": {map[string]any{"groupfilter": "((objectClass=groupOfNames)(member={{.UserDN}}))"},
			"alice", "wonderland", "alice: developers everybody of-alice; Dev"},
		"filters of users in a row": {map[string]any{"userfilter": "((objectClass=*)({{.UserAttr}}={{.Username}}))"},
			"alice", "wonderland", alice},
		"aliases followed":     {map[string]any{"dereference_aliases": "always"}, "alice", "wonderland", alice},
		"no place for groups":  {map[string]any{"groupdn": ""}, "alice", "wonderland", "alice: everybody of-alice; "},
		"no filter for groups": {map[string]any{"groupfilter": ""}, "alice", "wonderland", "alice: everybody of-alice; "},
		"another filter for groups": {map[string]any{"groupfilter": "(&(objectClass=groupOfNames)(member={{.UserDN}}))"},
			"alice", "wonderland", "alice: developers everybody of-alice; Dev"},
		"groups by what they are in": {map[string]any{"groupattr": "objectClass"}, "bob", "builder", "bob: everybody; groupOfUniqueNames"},
		"by mail address": {map[string]any{"userfilter": "(|({{.UserAttr}}={{.Username}})(mail={{.Username}}))"},
			"alice@example.org", "wonderland", "alice: developers everybody operators; Dev ops"},
		"by a mail address of two": {map[string]any{"userfilter": "(|({{.UserAttr}}={{.Username}})(mail={{.Username}}))"},
			"shared@example.org", "builder", refused},
		"another attribute":                        {map[string]any{"userattr": "cn"}, "cn of bob", "builder", "cn of bob: everybody operators; ops"},
		"the user's name as alias":                 {map[string]any{"username_as_alias": true}, "ALICE", "wonderland", "alice: developers everybody of-alice operators; Dev ops"},
		"a user with two names":                    {nil, "frank", "beans", "francis: everybody; "},
		"a user with two names, his name as alias": {map[string]any{"username_as_alias": true}, "francis", "beans", "frank: everybody; "},
		"case counts here":                         {map[string]any{"case_sensitive_names": true}, "alice", "wonderland", "alice: developers everybody of-alice operators posixes; Dev ops posix"},
		"case counts, another":                     {map[string]any{"case_sensitive_names": true}, "ALICE", "wonderland", "alice: developers everybody operators; Dev ops"},
		"a wrong account":                          {map[string]any{"bindpass": "x"}, "alice", "wonderland", trouble},
		"nobody says where users are":              {map[string]any{"binddn": "", "userdn": ""}, "alice", "wonderland", trouble},
		"a place that is not there":                {map[string]any{"userdn": "ou=none," + base}, "alice", "wonderland", trouble},
		"nobody listens":                           {map[string]any{"url": "ldap://127.0.0.1:1"}, "alice", "wonderland", trouble},
		"another scheme":                           {map[string]any{"url": "http://127.0.0.1:1"}, "alice", "wonderland", trouble},
		"no url":                                   {map[string]any{"url": ""}, "alice", "wonderland", trouble},
		"elsewhere":                                {map[string]any{"token_bound_cidrs": "10.0.0.0/8"}, "alice", "wonderland", "permission denied"},
		// Names that mean something in a filter or in a name of an entry.
		"a name of special characters":            {nil, oddName, "odd-secret", oddName + ": developers everybody; Dev"},
		"a name of special characters, by itself": {direct, oddName, "odd-secret", oddName + ": developers everybody; Dev"},
		"any name":                          {nil, "*", "wonderland", refused},
		"the beginning of a name":           {nil, "alic*", "wonderland", refused},
		"a name that ends the filter":       {nil, "alice)(uid=*", "wonderland", refused},
		"a name that begins another filter": {nil, "*)(|(uid=alice", "wonderland", refused},
		"a name that is escaped":            {nil, `\61lice`, "wonderland", refused},
		"a name with a zero":                {nil, "alice\x00", "wonderland", refused},
		"a name that is no text":            {nil, "alice\xff", "wonderland", refused},
		"a name that is too long":           {nil, strings.Repeat("a", 513), "wonderland", refused},
		"a name with a slash":               {nil, "alice/bob", "wonderland", refused},
		"a name that ends the entry's":      {direct, "alice," + people, "wonderland", refused},
		"a name that adds to the entry's":   {direct, "alice+cn=x", "wonderland", refused},
		"a name of another entry":           {direct, "x,uid=alice", "wonderland", refused},
		"a name with a zero, by itself":     {direct, "alice\x00", "wonderland", refused},
		"an escaped name, by itself":        {direct, `\61lice`, "wonderland", refused},
		"spaces that do not count for a directory": {nil, " alice ", "wonderland",
			"alice: developers everybody of-alice operators posixes; Dev ops posix"},
		"other forms of letters": {nil, "ａlice\u200b", "wonderland",
			"alice: developers everybody of-alice operators posixes; Dev ops posix"},
		"another case of a letter beyond ASCII":  {nil, "MÜLLER", "mill", "müller: everybody millers of-müller; müllers"},
		"its parts":                              {nil, "mu\u0308ller", "mill", "müller: everybody millers of-müller; müllers"},
		"another case, by itself":                {direct, "MÜLLER", "mill", "müller: everybody millers of-müller; müllers"},
		"another case, by itself, name as alias": {asAlias, "MÜLLER", "mill", "müller: everybody millers of-müller; müllers"},
		"a letter that folds to another":         {nil, "mİke", "other", "mİke: everybody; "},
		"nor for the name as alias": {map[string]any{"username_as_alias": true}, " alice ", "wonderland",
			"alice: developers everybody of-alice operators posixes; Dev ops posix"},
	}
}

func TestLogins(t *testing.T) {
	eachDirectory(t, func(t *testing.T, d *directory) {
		for name, tc := range loginCases() {
			t.Run(name, func(t *testing.T) {
				m := newMount(t, nil)
				m.write(t, "config", searching(d, tc.config))
				m.write(t, "groups/Dev", map[string]any{"policies": "developers"})
				m.write(t, "groups/ops", map[string]any{"policies": "operators"})
				m.write(t, "groups/posix", map[string]any{"policies": "posixes"})
				m.write(t, "groups/other", map[string]any{"policies": "others"})
				m.write(t, "users/alice", map[string]any{"policies": "of-alice"})
				m.write(t, "users/müller", map[string]any{"policies": "of-müller", "groups": "Müllers"})
				m.write(t, "users/mike", map[string]any{"policies": "of-mike"})
				m.write(t, "groups/müllers", map[string]any{"policies": "millers"})
				m.write(t, "users/eve", map[string]any{"groups": "Ops"})
				got := outcome(m.login(t.Context(), tc.username, tc.password))
				if got != tc.want {
					t.Errorf("got  %q\nwant %q\n%s", got, tc.want, m.log)
				}
				for _, secret := range []string{readerPass, "wonderland", "builder"} {
					if strings.Contains(m.log.String(), secret) {
						t.Errorf("the log holds a password:\n%s", m.log)
					}
				}
			})
		}
	})
}
