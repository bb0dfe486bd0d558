// Package ldap is the auth method for people whose names and passwords are in an LDAP directory.
//
// A login binds to the directory as the person, asks for his groups, and gives him the policies of the mount, of
// those groups, and of his own entry at users/. DESIGN.md tells how.
package ldap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Factory is the engines.Factory of type "ldap".
func Factory(_ context.Context, cfg engines.Config) (engines.Engine, error) {
	return &engine{storage: cfg.Storage, log: cfg.Logger, locks: keylock.New(), passwords: cfg.Passwords}, nil
}

type engine struct {
	storage storage.Storage
	log     *slog.Logger
	locks   *keylock.Set
	// passwords makes the bind password where password_policy names a policy.
	passwords engines.Passwords
}

// Where the engine keeps what it stores. Names are escaped into one component.
const (
	configKey   = "config"
	userFolder  = "user/"
	groupFolder = "group/"
)

// Routes implements engines.Engine.
func (*engine) Routes() *engines.Routes { return engines.RoutesOf[*engine](routes) }

func routes() []engines.Route {
	return []engines.Route{
		engines.Path("config", "How to find people and groups in the directory, and what tokens they get.",
			engines.OnRead(engines.Method((*engine).readConfig)), engines.OnUpdate(engines.Method((*engine).writeConfig))),
		engines.Path("config/rotate-root", "Give the account at binddn a new password that nobody else knows.",
			engines.OnUpdate(engines.Method((*engine).rotateRoot))),
		engines.Path("login/{username+}", "Log in with a name and password of the directory.",
			engines.LoginAs(loginParams.alias), engines.OnUpdate(engines.Method((*engine).login)), engines.Unauthenticated()),
		engines.Path("users", "List the users who have policies or groups here.",
			engines.OnList(engines.Method((*engine).listUsers))),
		engines.Path("users/{name+}", "Read, write or delete a user's policies and groups.",
			engines.CaseInsensitiveIf("name", (*engine).foldsNames), engines.AllLetters("name"),
			engines.OnRead(engines.Method((*engine).readUser)), engines.OnUpdate(engines.Method((*engine).writeUser)),
			engines.OnDelete(engines.Method((*engine).deleteUser))),
		engines.Path("groups", "List the groups that have policies here.",
			engines.OnList(engines.Method((*engine).listGroups))),
		engines.Path("groups/{name+}", "Read, write or delete a group's policies.",
			engines.CaseInsensitiveIf("name", (*engine).foldsNames), engines.AllLetters("name"),
			engines.OnRead(engines.Method((*engine).readGroup)), engines.OnUpdate(engines.Method((*engine).writeGroup)),
			engines.OnDelete(engines.Method((*engine).deleteGroup))),
	}
}

// user is what a person has here besides what the directory tells.
type user struct {
	Groups   []string `json:"groups"`
	Policies []string `json:"policies"`
}

// group is what its members get.
type group struct {
	Policies []string `json:"policies"`
}

type nameParams struct {
	Name string `path:"name" help:"Name of the user or group."`
}

type userParams struct {
	Name     string   `path:"name" help:"Name of the user."`
	Groups   []string `param:"groups" as:"letters" help:"Further groups of the user."`
	Policies []string `param:"policies" as:"name" help:"Policies of the user."`
}

type groupParams struct {
	Name     string   `path:"name" help:"Name of the group."`
	Policies []string `param:"policies" as:"name" help:"Policies of the group's members."`
}

// foldsNames reports whether the case of names says nothing here.
func (e *engine) foldsNames(ctx context.Context) (bool, error) {
	c, err := e.config(ctx)
	if err != nil {
		return false, err
	}
	return !c.CaseSensitive, nil
}

// maxName bounds the names of users and groups in bytes.
const maxName = 512

// keyOf is where a user or group is stored. Without case-sensitive names all spellings of a name are one.
func keyOf(folder, name string, c *config) (string, error) {
	if !c.CaseSensitive {
		name = engines.FoldLetters(name)
	}
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return "", engines.Invalid("invalid name")
	}
	return folder + url.PathEscape(name), nil
}

// errRecord is returned for bytes in storage that are not what was written there.
var errRecord = errors.New("damaged record")

// read decodes what is stored at a key. Its error names the key, never what is there.
func (e *engine) read(ctx context.Context, key string, into any) error {
	raw, err := e.storage.Get(ctx, key)
	if err != nil {
		return err
	}
	if json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("ldap: %s: %w", key, errRecord)
	}
	return nil
}

func (e *engine) put(ctx context.Context, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("ldap: %s: %w", key, err)
	}
	return e.storage.Apply(ctx, storage.Put(key, raw))
}

// list answers with the names in a folder.
func (e *engine) list(ctx context.Context, folder string) (*engines.Response, error) {
	keys, err := e.storage.List(ctx, folder, "", 0)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		name, err := url.PathUnescape(key)
		if err != nil {
			return nil, fmt.Errorf("ldap: %s%s: %w", folder, key, errRecord)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return engines.ListResponse(names)
}

// lookup decodes the user or group of a name, or returns storage.ErrNotFound.
func (e *engine) lookup(ctx context.Context, folder, name string, c *config, into any) error {
	key, err := keyOf(folder, name, c)
	if err != nil {
		return err
	}
	return e.read(ctx, key, into)
}

// show reads an entry for its endpoint.
func (e *engine) show(ctx context.Context, folder, name string, into any) error {
	c, err := e.config(ctx)
	if err != nil {
		return err
	}
	err = e.lookup(ctx, folder, name, c, into)
	if errors.Is(err, storage.ErrNotFound) {
		return engines.NotFound()
	}
	return err
}

func (e *engine) write(ctx context.Context, folder, name string, value any) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(folder, name, c)
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, e.put(ctx, key, value)
}

func (e *engine) remove(ctx context.Context, folder, name string) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(folder, name, c)
	if err != nil {
		return nil, err
	}
	return &engines.Response{}, e.storage.Apply(ctx, storage.Delete(key))
}

func (e *engine) listUsers(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	return e.list(ctx, userFolder)
}

func (e *engine) readUser(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	var u user
	if err := e.show(ctx, userFolder, p.Name, &u); err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{
		"groups": strings.Join(u.Groups, ","), "policies": u.Policies}}, nil
}

func (e *engine) writeUser(ctx context.Context, _ *engines.Request, p userParams) (*engines.Response, error) {
	c, err := e.config(ctx)
	if err != nil {
		return nil, err
	}
	return e.write(ctx, userFolder, p.Name, user{
		Groups: cleanNames(p.Groups, c.CaseSensitive), Policies: auth.CleanPolicies(p.Policies)})
}

// cleanNames makes a list of names sorted, each once.
func cleanNames(names []string, caseSensitive bool) []string {
	clean := make([]string, 0, len(names))
	for _, name := range names {
		if !caseSensitive {
			name = engines.FoldLetters(name)
		}
		if name = strings.TrimSpace(name); name != "" {
			clean = append(clean, name)
		}
	}
	slices.Sort(clean)
	return slices.Compact(clean)
}

func (e *engine) deleteUser(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	return e.remove(ctx, userFolder, p.Name)
}

func (e *engine) listGroups(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	return e.list(ctx, groupFolder)
}

func (e *engine) readGroup(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	var g group
	if err := e.show(ctx, groupFolder, p.Name, &g); err != nil {
		return nil, err
	}
	return &engines.Response{Data: map[string]any{"policies": g.Policies}}, nil
}

func (e *engine) writeGroup(ctx context.Context, _ *engines.Request, p groupParams) (*engines.Response, error) {
	return e.write(ctx, groupFolder, p.Name, group{Policies: auth.CleanPolicies(p.Policies)})
}

func (e *engine) deleteGroup(ctx context.Context, _ *engines.Request, p nameParams) (*engines.Response, error) {
	return e.remove(ctx, groupFolder, p.Name)
}
