package sys

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"coffer/engines"
	"coffer/policy"
	"coffer/server/policies"
)

// Policies is the policy store; *policies.Store is one. Names need not be canonical.
type Policies interface {
	List(ctx context.Context) ([]string, error)
	// Get returns policies.ErrNotFound for a name without a policy.
	Get(ctx context.Context, name string) (*policy.Policy, error)
	// Set and Delete return policies.ErrReserved for the built-in ones.
	Set(ctx context.Context, name, text string) error
	Delete(ctx context.Context, name string) error
}

type policyParams struct {
	Name string `path:"name" help:"Name of the policy."`
}

type writePolicyParams struct {
	Name   string `path:"name" help:"Name of the policy."`
	Policy string `param:"policy" as:"encoded" help:"The policy, as text or as base64 of it."`
	// Rules is what clients of old versions send.
	Rules string `param:"rules" old:"policy" as:"encoded" help:"Deprecated, use policy."`
}

type writeACLParams struct {
	Name   string `path:"name" help:"Name of the policy."`
	Policy string `param:"policy" as:"encoded" help:"The policy, as text or as base64 of it."`
}

func (e *engine) policyRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("policy", "List the ACL policies.", engines.OptionalSlash(),
			engines.OnRead(e.listPolicies), engines.OnList(e.listPolicies)),
		engines.Path("policy/{name+}", "Read, write or delete an ACL policy.",
			engines.CaseInsensitive("name"), engines.IgnoreSpace("name"), engines.IgnoreSlash("name"),
			engines.KeepSpelling("name"),
			engines.OnRead(e.readPolicy), engines.OnUpdate(e.writePolicy), engines.OnDelete(e.deletePolicy)),
		engines.Path("policies/acl", "List the ACL policies.", engines.OnList(e.listACLPolicies)),
		engines.Path("policies/acl/", "List the ACL policies.", engines.OnList(e.listACLPolicies)),
		engines.Path("policies/acl/{name+}", "Read, write or delete an ACL policy.",
			engines.CaseInsensitive("name"), engines.IgnoreSpace("name"), engines.IgnoreSlash("name"),
			engines.KeepSpelling("name"),
			engines.OnRead(e.readACLPolicy), engines.OnUpdate(e.writeACLPolicy), engines.OnDelete(e.deletePolicy)),
	}
}

func (e *engine) listPolicies(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	names, err := e.Policies.List(ctx)
	if err != nil {
		return nil, err
	}
	return flat(map[string]any{"keys": names, "policies": names})
}

func (e *engine) listACLPolicies(
	ctx context.Context, _ *engines.Request, _ engines.NoParams,
) (*engines.Response, error) {
	names, err := e.Policies.List(ctx)
	if err != nil {
		return nil, err
	}
	return engines.ListResponse(names)
}

func (e *engine) readPolicy(ctx context.Context, _ *engines.Request, p policyParams) (*engines.Response, error) {
	found, err := e.findPolicy(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	return flat(map[string]any{"name": found.Name, "rules": found.Text})
}

func (e *engine) readACLPolicy(ctx context.Context, _ *engines.Request, p policyParams) (*engines.Response, error) {
	found, err := e.findPolicy(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	return read(map[string]any{"name": found.Name, "policy": found.Text})
}

func (e *engine) findPolicy(ctx context.Context, name string) (*policy.Policy, error) {
	found, err := e.Policies.Get(ctx, strings.TrimSuffix(name, "/"))
	if err != nil {
		return nil, e.policyError(err, "", "")
	}
	return found, nil
}

func (e *engine) writePolicy(ctx context.Context, _ *engines.Request, p writePolicyParams) (*engines.Response, error) {
	text, warnings := p.Policy, []string(nil)
	if text == "" && p.Rules != "" {
		text, warnings = p.Rules, []string{"'rules' is deprecated, please use 'policy' instead"}
	}
	return e.setPolicy(ctx, p.Name, text, warnings)
}

func (e *engine) writeACLPolicy(ctx context.Context, _ *engines.Request, p writeACLParams) (*engines.Response, error) {
	return e.setPolicy(ctx, p.Name, p.Policy, nil)
}

func (e *engine) setPolicy(ctx context.Context, name, text string, warnings []string) (*engines.Response, error) {
	if text == "" {
		return nil, engines.Invalid("'policy' parameter not supplied or empty")
	}
	text = decodePolicy(text)
	if err := e.Policies.Set(ctx, name, text); err != nil {
		return nil, e.policyError(err, "update", name)
	}
	if lower := engines.FoldASCII(name); lower != name {
		warnings = append(warnings, "policy name was converted to "+lower)
	}
	return &engines.Response{Warnings: warnings}, nil
}

// decodePolicy is the text of a policy, which may be sent as base64 of it.
func decodePolicy(text string) string {
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		return string(decoded)
	}
	return text
}

func (e *engine) deletePolicy(ctx context.Context, _ *engines.Request, p policyParams) (*engines.Response, error) {
	if err := e.Policies.Delete(ctx, p.Name); err != nil {
		return nil, e.policyError(err, "delete", p.Name)
	}
	return done()
}

// policyError gives an error of the store the text that clients see.
func (e *engine) policyError(err error, verb, name string) error {
	canonical := strings.TrimSpace(engines.FoldASCII(name))
	switch {
	case errors.Is(err, policies.ErrNotFound):
		return engines.NotFound()
	case errors.Is(err, policies.ErrReserved) && canonical == policies.DefaultName:
		return engines.Invalid("cannot %s default policy", verb)
	case errors.Is(err, policies.ErrReserved):
		return engines.Invalid("cannot %s %q policy", verb, canonical)
	case errors.Is(err, policy.ErrName):
		return engines.Invalid("%v", err)
	default:
		return err
	}
}
