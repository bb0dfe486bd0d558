package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coffer/auth"
	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Where the name of an alias comes from.
const (
	aliasUID  = "serviceaccount_uid"
	aliasName = "serviceaccount_name"
)

// anyName is the binding that everybody fits.
const anyName = "*"

// errNoRole is returned for a role that does not exist.
var errNoRole = errors.New("kubernetes: no such role")

// role says which ServiceAccounts may log in, and what tokens they get.
type role struct {
	Names []string `json:"names"`
	// Namespaces is nil when it was never sent.
	Namespaces []string `json:"namespaces"`
	// Selector is the text of a label selector of namespaces; "" for none.
	Selector string             `json:"selector,omitempty"`
	Audience string             `json:"audience,omitempty"`
	Alias    string             `json:"alias"`
	Token    auth.TokenSettings `json:"token"`
}

// roleParams are the settings of a role. What is not sent stays as it is, but for the selector.
type roleParams struct {
	Name       string    `path:"name" help:"Name of the role."`
	Names      *[]string `param:"bound_service_account_names" help:"Names, or globs of them, that may log in."`
	Namespaces *[]string `param:"bound_service_account_namespaces" help:"Namespaces, or globs of them, that may log in."`
	Selector   string    `param:"bound_service_account_namespace_selector" help:"Labels of namespaces that may log in."`
	Audience   *string   `param:"audience" help:"Audience that tokens must be meant for."`
	Alias      *string   `param:"alias_name_source" help:"serviceaccount_uid or serviceaccount_name."`
	auth.TokenParams
	auth.OldTokenParams
}

type roleNameParams struct {
	Name string `path:"name" help:"Name of the role."`
}

// roleKey is where a role is kept: names that differ in case alone are one role.
func roleKey(name string) string { return roleFolder + engines.FoldASCII(name) }

// role returns the role of that name, or errNoRole.
func (m *method) role(ctx context.Context, name string) (*role, error) {
	if !auth.ValidName(name) {
		return nil, errNoRole
	}
	r := new(role)
	err := m.load(ctx, roleKey(name), r)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errNoRole
	}
	return r, err
}

func (m *method) roleExists(ctx context.Context, _ *engines.Request, p roleParams) (bool, error) {
	if !auth.ValidName(p.Name) {
		return false, engines.ErrUnsupportedPath
	}
	_, err := m.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return false, nil
	}
	return err == nil, err
}

func (m *method) listRoles(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	names, err := m.storage.List(ctx, roleFolder, "", 0)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (m *method) readRole(ctx context.Context, _ *engines.Request, p roleNameParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	r, err := m.role(ctx, p.Name)
	if errors.Is(err, errNoRole) {
		return nil, engines.NotFound()
	}
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"bound_service_account_names":              r.Names,
		"bound_service_account_namespaces":         r.Namespaces,
		"bound_service_account_namespace_selector": r.Selector,
		"alias_name_source":                        r.Alias,
	}
	if r.Audience != "" {
		data["audience"] = r.Audience
	}
	r.Token.Show(data)
	return &engines.Response{Data: data}, nil
}

func (m *method) deleteRole(ctx context.Context, _ *engines.Request, p roleNameParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	return &engines.Response{}, m.storage.Apply(ctx, storage.Delete(roleKey(p.Name)))
}

func (m *method) writeRole(ctx context.Context, _ *engines.Request, p roleParams) (*engines.Response, error) {
	if !auth.ValidName(p.Name) {
		return nil, engines.ErrUnsupportedPath
	}
	key := roleKey(p.Name)
	return keylock.Write(ctx, m.locks, key, func(ctx context.Context) (*engines.Response, error) {
		r, err := m.role(ctx, p.Name)
		if errors.Is(err, errNoRole) {
			r, err = new(role), nil
		}
		if err != nil {
			return nil, err
		}
		warnings, err := m.setTokens(r, p)
		if err != nil {
			return nil, err
		}
		if err := r.bind(p); err != nil {
			return nil, err
		}
		if strings.TrimSpace(r.Audience) == "" {
			warnings = append(warnings, fmt.Sprintf("Role %s does not have an audience configured. While audiences are not "+
				"required, consider specifying one if your use case would benefit from additional JWT claim verification.", p.Name))
		}
		return &engines.Response{Warnings: warnings}, m.save(ctx, key, r)
	})
}

// setTokens puts in what was sent about the role's tokens.
func (m *method) setTokens(r *role, p roleParams) (warnings []string, err error) {
	if err := r.Token.Set(p.TokenParams, p.OldTokenParams); err != nil {
		return nil, err
	}
	longest := m.ttls.MaxTTL()
	if r.Token.Period > longest {
		return nil, engines.Invalid("token period of '%q' is greater than the backend's maximum lease TTL of '%q'",
			r.Token.Period.String(), longest.String())
	}
	if r.Token.MaxTTL > 0 && r.Token.TTL > r.Token.MaxTTL {
		return nil, engines.Invalid("token ttl should not be greater than token max ttl")
	}
	if r.Token.MaxTTL > longest {
		warnings = append(warnings, "max_ttl is greater than the system or backend mount's maximum TTL value; "+
			"issued tokens' max TTL value will be truncated")
	}
	return warnings, nil
}

// bind puts in what was sent about who may log in. It returns an ErrInvalid in Vault's words for what binds
// nobody, or not clearly.
func (r *role) bind(p roleParams) error {
	if p.Names != nil {
		r.Names = *p.Names
	}
	if len(r.Names) == 0 {
		return engines.Invalid("%q can not be empty", "bound_service_account_names")
	}
	if mixed(r.Names) {
		return engines.Invalid("can not mix %q with values", anyName)
	}
	if p.Namespaces != nil {
		r.Namespaces = *p.Namespaces
	}
	r.Selector = p.Selector
	if len(r.Namespaces) == 0 && r.Selector == "" {
		return engines.Invalid("%q can not be empty if %q is not set",
			"bound_service_account_namespaces", "bound_service_account_namespace_selector")
	}
	if r.Selector != "" {
		if _, err := parseSelector(r.Selector); err != nil {
			return engines.Invalid("invalid %q configured", "bound_service_account_namespace_selector")
		}
	}
	if mixed(r.Namespaces) {
		return engines.Invalid("can not mix %q with values", anyName)
	}
	if p.Audience != nil {
		r.Audience = *p.Audience
	}
	switch {
	case p.Alias != nil && (*p.Alias != "" || r.Alias != ""):
		r.Alias = *p.Alias
	case r.Alias == "":
		r.Alias = aliasUID
	}
	if r.Alias != aliasUID && r.Alias != aliasName {
		return engines.Invalid("invalid alias_name_source, must be one of: %s, %s", aliasUID, aliasName)
	}
	return nil
}

func mixed(names []string) bool { return len(names) > 1 && slices.Contains(names, anyName) }
