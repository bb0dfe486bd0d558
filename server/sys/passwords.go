package sys

import (
	"context"
	"errors"
	"fmt"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/passwords"
)

// Passwords is the store of password policies; *passwords.Store is one. All but List return policy.ErrName for what can
// be no name.
type Passwords interface {
	List(ctx context.Context) ([]string, error)
	// Get returns passwords.ErrNotFound for a name without a policy.
	Get(ctx context.Context, name string) (*passwords.Policy, error)
	Set(ctx context.Context, name string, p *passwords.Policy) error
	Delete(ctx context.Context, name string) error
}

type passwordPolicyParams struct {
	Name string `path:"name" help:"Name of the password policy."`
}

type writePasswordPolicyParams struct {
	Name    string `path:"name" help:"Name of the password policy."`
	Policy  string `param:"policy" as:"encoded" help:"The policy in HCL or JSON, as text or as base64 of it."`
	Entropy string `param:"entropy_source" help:"platform, seal or nothing: all are the operating system's randomness."`
}

func (e *engine) passwordRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("policies/password", "List the password policies.", engines.OptionalSlash(),
			engines.OnList(e.listPasswordPolicies)),
		engines.Path("policies/password/{name+}/generate", "Make a password by a password policy.",
			engines.OnRead(e.generatePassword)),
		engines.Path("policies/password/{name+}", "Read, write or delete a password policy.",
			engines.OnRead(e.readPasswordPolicy), engines.OnUpdate(e.writePasswordPolicy),
			engines.OnDelete(e.deletePasswordPolicy)),
	}
}

func (e *engine) listPasswordPolicies(
	ctx context.Context, _ *engines.Request, _ engines.NoParams,
) (*engines.Response, error) {
	names, err := e.Passwords.List(ctx)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (e *engine) findPasswordPolicy(ctx context.Context, name string) (*passwords.Policy, error) {
	found, err := e.Passwords.Get(ctx, name)
	if errors.Is(err, passwords.ErrNotFound) {
		return nil, engines.NotFoundf("%s", engines.Numbered("policy does not exist"))
	}
	return found, nameError(err)
}

// nameError tells the client what is wrong with the name of a password policy.
func nameError(err error) error {
	if errors.Is(err, policy.ErrName) {
		return engines.Invalid("%s", engines.Numbered(err.Error()))
	}
	return err
}

func (e *engine) readPasswordPolicy(
	ctx context.Context, _ *engines.Request, p passwordPolicyParams,
) (*engines.Response, error) {
	found, err := e.findPasswordPolicy(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	data := map[string]any{"policy": found.Text}
	if found.Entropy != "" {
		data["entropy_source"] = found.Entropy
	}
	return read(data)
}

func (e *engine) writePasswordPolicy(
	ctx context.Context, _ *engines.Request, p writePasswordPolicyParams,
) (*engines.Response, error) {
	if p.Policy == "" {
		return nil, engines.Invalid("%s", engines.Numbered("missing policy"))
	}
	parsed, err := passwords.Parse(decodePolicy(p.Policy))
	if err != nil {
		return nil, err
	}
	parsed.Entropy = p.Entropy
	if err := parsed.Check(); err != nil {
		return nil, err
	}
	if err := e.Passwords.Set(ctx, p.Name, parsed); err != nil {
		return nil, nameError(err)
	}
	var warnings []string
	for _, key := range parsed.Unknown {
		warnings = append(warnings, fmt.Sprintf("%q is no part of a password policy and has no effect", key))
	}
	return warn(warnings...)
}

func (e *engine) deletePasswordPolicy(
	ctx context.Context, _ *engines.Request, p passwordPolicyParams,
) (*engines.Response, error) {
	if err := e.Passwords.Delete(ctx, p.Name); err != nil {
		return nil, nameError(err)
	}
	return done()
}

func (e *engine) generatePassword(
	ctx context.Context, _ *engines.Request, p passwordPolicyParams,
) (*engines.Response, error) {
	found, err := e.findPasswordPolicy(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	password, err := found.Generate()
	if err != nil {
		return nil, engines.Failed("%s", engines.Numbered("failed to generate password from policy: "+err.Error()))
	}
	return read(map[string]any{"password": password})
}
