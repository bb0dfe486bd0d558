package sys

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"

	"coffer/engines"
)

// maxRandom is how many random bytes one request gets.
const maxRandom = 128 << 10

func (e *engine) toolRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("tools/random", "Generate random bytes.", engines.OnUpdate(randomFrom)),
		engines.Path("tools/random/{urlbytes}", "Generate random bytes.", engines.OnUpdate(randomAt)),
		engines.Path("tools/random/{source}/{urlbytes}", "Generate random bytes.", engines.OnUpdate(randomOf)),
		engines.Path("tools/hash", "Hash what is sent.", engines.OnUpdate(hashInput)),
		engines.Path("tools/hash/{urlalgorithm}", "Hash what is sent.", engines.OnUpdate(hashAt)),
	}
}

type randomParams struct {
	Bytes    int    `param:"bytes" default:"32" help:"How many bytes, 1 to 131072."`
	Format   string `param:"format" default:"base64" help:"\"base64\" or \"hex\"."`
	Source   any    `param:"source" help:"Ignored: only the path names a source."`
	URLBytes any    `param:"urlbytes" help:"Ignored: use bytes."`
}

type randomAtParams struct {
	URLBytes string `path:"urlbytes" help:"How many bytes, 1 to 131072, or a source of them."`
	Format   string `param:"format" default:"base64" help:"\"base64\" or \"hex\"."`
	Bytes    int    `param:"bytes" default:"32" help:"How many bytes when the path names a source."`
	Source   any    `param:"source" help:"Ignored: only the path names a source."`
}

type randomOfParams struct {
	Source   string `path:"source" help:"\"platform\", \"seal\" or \"all\"; all are the platform's here."`
	URLBytes string `path:"urlbytes" help:"How many bytes, 1 to 131072."`
	Format   string `param:"format" default:"base64" help:"\"base64\" or \"hex\"."`
	Bytes    int    `param:"bytes" help:"Ignored: the path tells."`
}

func randomFrom(_ context.Context, _ *engines.Request, p randomParams) (*engines.Response, error) {
	resp, err := random("platform", p.Bytes, p.Format)
	return pathOnly(resp, given{"source", p.Source}, given{"urlbytes", p.URLBytes}), err
}

// given is a parameter that counts in the path only, as it came in the body.
type given struct {
	name  string
	value any
}

// pathOnly warns, in the words of package engines, about parameters that Vault reads from the path alone,
// also where the path leaves them out.
func pathOnly(resp *engines.Response, params ...given) *engines.Response {
	var names []string
	for _, p := range params {
		if p.value != nil {
			names = append(names, p.name)
		}
	}
	if resp != nil && len(names) > 0 {
		resp.Warnings = append(resp.Warnings, "Endpoint replaced the value of these parameters with the values "+
			"captured from the endpoint's path: ["+strings.Join(names, " ")+"]")
	}
	return resp
}

func randomAt(_ context.Context, _ *engines.Request, p randomAtParams) (*engines.Response, error) {
	source, n := p.URLBytes, p.Bytes
	switch source {
	case "platform", "seal", "all":
	default:
		var err error
		if n, err = parseCount(p.URLBytes); err != nil {
			return nil, err
		}
		source = "platform"
	}
	resp, err := random(source, n, p.Format)
	return pathOnly(resp, given{"source", p.Source}), err
}

func randomOf(_ context.Context, _ *engines.Request, p randomOfParams) (*engines.Response, error) {
	n, err := parseCount(p.URLBytes)
	if err != nil {
		return nil, err
	}
	return random(p.Source, n, p.Format)
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, engines.Invalid("error parsing url-set byte count: %v", err)
	}
	return n, nil
}

func random(source string, n int, format string) (*engines.Response, error) {
	switch {
	case n < 1:
		return nil, engines.Invalid(`"bytes" cannot be less than 1`)
	case n > maxRandom:
		return nil, engines.Invalid(`"bytes" should be less than %d`, maxRandom)
	case format != "hex" && format != "base64":
		return nil, engines.Invalid(`unsupported encoding format %q; must be "hex" or "base64"`, format)
	}
	var warnings []string
	switch source {
	case "platform", "all":
	case "seal":
		warnings = []string{"no seal/entropy augmentation available, using platform entropy source"}
	default:
		return nil, engines.Invalid(`unsupported entropy source %q; must be "platform" or "seal", or "all"`, source)
	}
	b := make([]byte, n)
	rand.Read(b)
	return &engines.Response{Data: map[string]any{"random_bytes": encode(b, format)}, Warnings: warnings}, nil
}

func encode(b []byte, format string) string {
	if format == "hex" {
		return hex.EncodeToString(b)
	}
	return base64.StdEncoding.EncodeToString(b)
}

type hashParams struct {
	Input        string `param:"input" help:"What to hash, in base64."`
	Algorithm    string `param:"algorithm" default:"sha2-256" help:"sha2- or sha3- with 224, 256, 384 or 512."`
	Format       string `param:"format" default:"hex" help:"\"hex\" or \"base64\"."`
	URLAlgorithm any    `param:"urlalgorithm" help:"Ignored: use algorithm."`
}

type hashAtParams struct {
	Algorithm string `path:"urlalgorithm" help:"sha2- or sha3- with 224, 256, 384 or 512."`
	Input     string `param:"input" help:"What to hash, in base64."`
	Format    string `param:"format" default:"hex" help:"\"hex\" or \"base64\"."`
	Ignored   string `param:"algorithm" help:"Ignored: the path tells."`
}

func hashAt(ctx context.Context, r *engines.Request, p hashAtParams) (*engines.Response, error) {
	return hashInput(ctx, r, hashParams{Input: p.Input, Algorithm: p.Algorithm, Format: p.Format})
}

func hashInput(_ context.Context, _ *engines.Request, p hashParams) (*engines.Response, error) {
	input, err := base64.StdEncoding.DecodeString(p.Input)
	if err != nil {
		return nil, engines.Invalid("unable to decode input as base64: %v", err)
	}
	if p.Format != "hex" && p.Format != "base64" {
		return nil, engines.Invalid(`unsupported encoding format %s; must be "hex" or "base64"`, p.Format)
	}
	h, ok := newHash(p.Algorithm)
	if !ok {
		return nil, engines.Invalid("unsupported algorithm %s", p.Algorithm)
	}
	h.Write(input)
	resp := &engines.Response{Data: map[string]any{"sum": encode(h.Sum(nil), p.Format)}}
	return pathOnly(resp, given{"urlalgorithm", p.URLAlgorithm}), nil
}

func newHash(algorithm string) (hash.Hash, bool) {
	switch algorithm {
	case "sha2-224":
		return sha256.New224(), true
	case "sha2-256":
		return sha256.New(), true
	case "sha2-384":
		return sha512.New384(), true
	case "sha2-512":
		return sha512.New(), true
	case "sha3-224":
		return sha3.New224(), true
	case "sha3-256":
		return sha3.New256(), true
	case "sha3-384":
		return sha3.New384(), true
	case "sha3-512":
		return sha3.New512(), true
	default:
		return nil, false
	}
}
