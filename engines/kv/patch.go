package kv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"

	"coffer/engines"
	"coffer/storage"
)

func (e *versioned) patch(ctx context.Context, req *engines.Request, p dataParams) (*engines.Response, error) {
	if err := checkWrite(p.Path); err != nil {
		return nil, err
	}
	if !p.HasData {
		return nil, engines.Invalid("no data provided")
	}
	var hidden *engines.Response
	resp, err := e.store(ctx, p, false, attributionOf(req, opPatch), func(ctx context.Context, c *change) ([]byte, error) {
		latest := c.entry.version(c.entry.Current)
		if latest == nil {
			return nil, storage.ErrNotFound
		}
		if latest.gone(e.now()) {
			hidden = &engines.Response{Status: 404, Data: versionData(c.entry.Current, latest, c.entry.Custom)}
			return nil, storage.ErrNotFound
		}
		data, err := e.data(ctx, c.name, c.entry.Current, latest)
		if err != nil {
			return nil, err
		}
		if err := storage.Spend(ctx, decodedSize(data)); err != nil {
			return nil, err
		}
		return patched(data, p.Data)
	})
	if errors.Is(err, storage.ErrNotFound) {
		if hidden != nil {
			return hidden, nil
		}
		return emptyNotFound(), nil
	}
	return resp, err
}

// patched applies a merge patch (RFC 7396) to the JSON of a secret and returns the result in canonical form.
// A nil patch makes the data null.
func patched(data []byte, patch map[string]any) ([]byte, error) {
	doc, err := decodeObject(data)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, engines.Failed("%s", engines.Numbered("resource does not exist"))
	}
	if patch == nil {
		return []byte("null"), nil
	}
	merged := merge(doc, patch)
	size := engines.JSONSize(merged)
	if size > storage.MaxValueSize {
		return nil, errTooLarge
	}
	return appendObject(make([]byte, 0, size+256), merged)
}

// What decoding and changing a value takes for each of its parts, in bytes; a Budget counts a read four times.
const (
	sizeOfValue  = 128 / 4
	sizeOfObject = 512 / 4
)

// decodedSize is what decoding JSON takes, in bytes of a Budget, beside reading it.
func decodedSize(data []byte) int {
	n := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i += engines.EndOfString(data[i:]) - 1
		case ',', ':', '[':
			n += sizeOfValue
		case '{':
			n += sizeOfObject
		}
	}
	return n
}

// decodeObject reads a JSON object; null gives nil.
func decodeObject(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, errRecord
	}
	return object, nil
}

// merge returns doc with patch applied: null removes a member, an object is merged into an object, anything
// else replaces. Neither argument is changed. Vault's library goes beyond the RFC in one point, which is
// kept: inside a list that is not replacing an object, members of objects that are null are dropped.
func merge(doc, patch map[string]any) map[string]any {
	merged := maps.Clone(doc)
	if merged == nil {
		merged = make(map[string]any, len(patch))
	}
	for name, value := range patch {
		old, had := merged[name]
		oldObject, isObject := old.(map[string]any)
		object, becomesObject := value.(map[string]any)
		switch {
		case value == nil:
			delete(merged, name)
		case becomesObject && isObject:
			merged[name] = merge(oldObject, object)
		case had && isObject:
			merged[name] = value
		default:
			merged[name] = pruned(value)
		}
	}
	return merged
}

// pruned returns value without the members of objects that are null, at any depth.
func pruned(value any) any {
	switch v := value.(type) {
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, member := range v {
			if member != nil {
				object[name] = pruned(member)
			}
		}
		return object
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = pruned(item)
		}
		return list
	default:
		return value
	}
}
