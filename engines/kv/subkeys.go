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
	object, err := decodeObject(view.data)
	if err != nil {
		return nil, err
	}
	if object == nil {
		return view.response("subkeys", nil), nil
	}
	depth := p.Depth
	if depth < 0 {
		depth = 1
	}
	names, err := appendObject(nil, skeleton(object, depth))
	if err != nil {
		return nil, err
	}
	return view.response("subkeys", names), nil
}

// skeleton is object with null in place of its values, and of its objects below depth levels; 0 is no limit.
func skeleton(object map[string]any, depth int) map[string]any {
	names := make(map[string]any, len(object))
	for name, value := range object {
		names[name] = nil
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 && depth != 1 {
			names[name] = skeleton(inner, max(depth-1, 0))
		}
	}
	return names
}
