package kv

import (
	"context"

	"coffer/engines"
)

type subkeysParams struct {
	Path    string `path:"path" help:"Name of the secret."`
	Version int    `param:"version" help:"Version to read; 0 for the latest."`
	Depth   int    `param:"depth" help:"Deepest level to show; 0 for all."`
}

// subkeys tells the names inside a secret with null in place of every value.
func (e *versioned) subkeys(ctx context.Context, _ *engines.Request, p subkeysParams) (*engines.Response, error) {
	view, err := e.view(ctx, p.Path, p.Version)
	if err != nil {
		return nil, err
	}
	if view.hidden {
		return view.response("subkeys", nil), nil
	}
	if len(view.data) == 0 || view.data[0] != '{' {
		return view.response("subkeys", nil), nil
	}
	depth := p.Depth
	if depth < 0 {
		depth = 1
	}
	names, _ := appendSkeleton(nil, view.data, depth)
	return view.response("subkeys", names), nil
}

// appendSkeleton appends the JSON object that text begins with, with null in place of its values, and of its objects
// below depth levels; 0 is no limit. It returns the text behind the object. Nothing is made of the values, which may be
// many times as large in memory as they are as text.
func appendSkeleton(b, text []byte, depth int) (names, rest []byte) {
	b, rest = append(b, '{'), text[1:]
	for len(rest) > 0 && rest[0] != '}' {
		if rest[0] == ',' {
			b, rest = append(b, ','), rest[1:]
		}
		end := engines.EndOfString(rest)
		if end >= len(rest) { // not JSON, which nothing stores
			break
		}
		b = append(b, rest[:end+1]...) // with the colon
		rest = rest[end+1:]
		if depth != 1 && len(rest) > 1 && rest[0] == '{' && rest[1] != '}' {
			b, rest = appendSkeleton(b, rest, max(depth-1, 0))
			continue
		}
		_, rest = engines.SkipJSON(rest)
		b = append(b, "null"...)
	}
	return append(b, '}'), rest[min(1, len(rest)):]
}
