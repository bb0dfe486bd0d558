package sys

import (
	"context"
	"crypto/subtle"
	"encoding/base64"

	"coffer/engines"
)

// featureRoutes are what clients ask to find out which parts of Vault a server has, and a helper for operators.
func (e *engine) featureRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("experiments", "List the experiments: there are none.", engines.OnRead(experiments)),
		engines.Path("activation-flags", "List the features that were activated: there are none.",
			engines.OnRead(activationFlags)),
		engines.Path("well-known", "List the redirects below /.well-known/: there are none.",
			engines.OnRead(wellKnown), engines.OnList(none)),
		engines.Path("well-known/", "List the redirects below /.well-known/: there are none.",
			engines.OnRead(wellKnown), engines.OnList(none)),
		engines.Path("well-known/{label+}", "Read a redirect below /.well-known/: there are none.",
			engines.OnRead(noLabel)),
		engines.Path("decode-token", "Decode the root token that generate-root made, with its one-time password.",
			engines.Unauthenticated(), engines.OnUpdate(decodeToken)),
	}
}

func experiments(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{"available": []string{}, "enabled": []string{}})
}

func activationFlags(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{"activated": []string{}})
}

func wellKnown(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{})
}

type labelParams struct {
	Label string `path:"label" help:"Path below /.well-known/."`
}

func noLabel(context.Context, *engines.Request, labelParams) (*engines.Response, error) {
	return nil, engines.NotFound()
}

type decodeTokenParams struct {
	Encoded  string `param:"encoded_token" help:"The encoded token, in base64 without padding."`
	Password string `param:"otp" help:"The one-time password of the attempt."`
}

// decodeToken undoes how `sys/generate-root` encodes a token. It knows nothing that its caller does not: the answer is
// made of the request alone.
func decodeToken(_ context.Context, _ *engines.Request, p decodeTokenParams) (*engines.Response, error) {
	encoded, err := base64.RawStdEncoding.DecodeString(p.Encoded)
	if err != nil {
		return nil, engines.Failed("error decoding base64'd token: %v", err)
	}
	switch password := []byte(p.Password); {
	case len(encoded) == 0 && len(password) == 0:
		return nil, engines.Failed("error xoring token: decoded first base64 value is nil or empty")
	case len(password) == 0:
		return nil, engines.Failed("error xoring token: decoded second base64 value is nil or empty")
	case len(encoded) != len(password):
		return nil, engines.Failed("error xoring token: length of byte slices is not equivalent: %d != %d",
			len(encoded), len(password))
	default:
		subtle.XORBytes(encoded, encoded, password)
	}
	return read(map[string]any{"token": string(encoded)})
}
