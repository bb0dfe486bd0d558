package wire

import (
	"encoding/base64"
	"encoding/json"
	"reflect"

	"coffer/engines"
)

const (
	// envelope is more than an answer takes without its data, warnings and token.
	envelope = 1 << 10
	// scalar is as long as a number, a time or a boolean gets.
	scalar = 64
)

// Size is how many bytes an answer takes when it is written, or somewhat more. Whoever encodes an answer asks it first:
// a text can become six times as long.
func Size(resp *engines.Response) int {
	switch {
	case resp == nil:
		return envelope
	case resp.Raw != nil: // it has no envelope
		return len(resp.Raw.Body)
	}
	n := envelope
	for _, warning := range resp.Warnings {
		n += engines.TextSize(warning) + 1
	}
	if resp.Wrap != nil {
		return n + engines.TextSize(resp.Wrap.CreationPath)
	}
	if resp.Secret != nil {
		n += engines.TextSize(resp.Secret.LeaseID)
	}
	data := len(resp.Encoded)
	if resp.Data != nil {
		data = sizeOf(resp.Data)
	}
	if resp.Flatten {
		data *= 2
	}
	n += data
	if resp.Auth != nil {
		n += sizeOfAny(reflect.ValueOf(resp.Auth))
	}
	return n
}

// sizeOf knows the common kinds without reflection.
func sizeOf(v any) int {
	switch v := v.(type) {
	case nil, bool:
		return len("false")
	case int, int64:
		return len("-9223372036854775808")
	case string:
		return engines.TextSize(v)
	case json.RawMessage:
		return len(v) + scalar
	case json.Number:
		return len(v) + 1
	case []string:
		n := 2
		for _, item := range v {
			n += engines.TextSize(item) + 1
		}
		return n
	case []any:
		n := 2
		for _, item := range v {
			n += sizeOf(item) + 1
		}
		return n
	case map[string]any:
		n := 2
		for key, item := range v {
			n += engines.TextSize(key) + sizeOf(item) + 2
		}
		return n
	default:
		return sizeOfAny(reflect.ValueOf(v))
	}
}

// sizeOfAny is sizeOf for all the rest, whose names are the server's own.
func sizeOfAny(v reflect.Value) int {
	switch v.Kind() {
	case reflect.String:
		return engines.TextSize(v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return scalar
		}
		return sizeOfAny(v.Elem())
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			return max(base64.StdEncoding.EncodedLen(v.Len())+2, v.Len()+scalar)
		}
		n := 2
		for i := range v.Len() {
			n += sizeOfAny(v.Index(i)) + 1
		}
		return n
	case reflect.Map:
		n := 2
		for members := v.MapRange(); members.Next(); {
			n += max(sizeOfAny(members.Key()), scalar) + sizeOfAny(members.Value()) + 2
		}
		return n
	case reflect.Struct:
		n := scalar
		for i := range v.NumField() {
			n += len(v.Type().Field(i).Name) + scalar + sizeOfAny(v.Field(i))
		}
		return n
	default:
		return scalar
	}
}
