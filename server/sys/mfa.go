package sys

import (
	"context"

	"coffer/engines"
)

// SecondFactors finishes logins that wait for a second factor.
type SecondFactors interface {
	// Validate issues the token of a waiting login when the payload has the factors it needs.
	Validate(ctx context.Context, requestID string, payload map[string]any) (*engines.Response, error)
}

func (e *engine) mfaRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("mfa/validate", "Finish a login that needs a second factor.",
			engines.OnUpdate(e.validateMFA), engines.Unauthenticated()),
	}
}

type validateParams struct {
	RequestID string         `param:"mfa_request_id" help:"What the login answered."`
	Payload   map[string]any `param:"mfa_payload" help:"For the id or name of each method a list of codes."`
}

func (e *engine) validateMFA(ctx context.Context, _ *engines.Request, p validateParams) (*engines.Response, error) {
	if p.RequestID == "" {
		return nil, engines.Invalid("missing request ID")
	}
	return e.SecondFactors.Validate(ctx, p.RequestID, p.Payload)
}
