package jwt

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"coffer/auth"
)

// find returns the claim of that name or, when it begins with "/", at that JSON pointer (RFC 6901). Nothing at
// all and null are not found. A number is in its shortest form.
func find(claims map[string]any, name string) (any, bool) {
	value, ok := claims[name], true
	if strings.HasPrefix(name, "/") {
		value, ok = pointAt(claims, name)
	}
	if number, isNumber := value.(json.Number); isNumber {
		value = shortest(number)
	}
	return value, ok && value != nil
}

// pointAt follows a JSON pointer.
func pointAt(value any, pointer string) (any, bool) {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = unescape.Replace(part)
		switch v := value.(type) {
		case map[string]any:
			next, ok := v[part]
			if !ok {
				return nil, false
			}
			value = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// exactBelow is where not every whole number has a float64 of its own any more.
const exactBelow = 1 << 53

// shortest writes a whole number without fraction and exponent, so that 1.0 and 1 are the same.
func shortest(n json.Number) json.Number {
	if f, err := n.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < exactBelow {
		return json.Number(strconv.FormatInt(int64(f), 10))
	}
	return n
}

// values makes a list of what a claim holds: providers send a list of one as the one. It reports false for what
// is neither a list nor a text, a number or a boolean.
func values(raw any) ([]any, bool) {
	switch v := raw.(type) {
	case []any:
		return v, true
	case string, bool, json.Number:
		return []any{v}, true
	default:
		return nil, false
	}
}

// Ways to compare a bound claim.
const (
	boundString = "string"
	boundGlob   = "glob"
)

// checkBound reports in words for the client which claim is not what the role wants.
func (b *bounds) checkBound(claims map[string]any) error {
	for name, want := range b.Claims {
		have, ok := find(claims, name)
		if !ok {
			return fmt.Errorf("claim %q is missing", name)
		}
		actual, ok := values(have)
		if !ok {
			return fmt.Errorf("received claim is not a string, bool, int or list: %v", have)
		}
		allowed, ok := values(want)
		if !ok {
			return fmt.Errorf("bound claim is not a string, bool, int or list: %v", want)
		}
		// Vault never finds a number in a list.
		_, isList := have.([]any)
		if !slices.ContainsFunc(actual, func(a any) bool { return b.admits(allowed, a, isList) }) {
			return fmt.Errorf("claim %q does not match any associated bound claim values", name)
		}
	}
	return nil
}

func (b *bounds) admits(allowed []any, actual any, inList bool) bool {
	return slices.ContainsFunc(allowed, func(want any) bool {
		switch w := want.(type) {
		case string:
			a, ok := actual.(string)
			return ok && (a == w || b.ClaimsType == boundGlob && auth.Matches(w, a))
		case bool:
			a, ok := actual.(bool)
			return ok && a == w
		case json.Number:
			a, ok := actual.(json.Number)
			return ok && !inList && shortest(a) == shortest(w)
		default:
			return false
		}
	})
}

// metadata copies claims to a token's metadata as the role maps them.
func (r *role) metadata(claims map[string]any) (map[string]string, error) {
	metadata := make(map[string]string, len(r.Mappings)+1)
	for claim, key := range r.Mappings {
		value, ok := find(claims, claim)
		if !ok {
			continue
		}
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("error converting claim '%s' to string", claim)
		}
		metadata[key] = text
	}
	return metadata, nil
}

// user is the name of who logs in.
func (r *role) user(claims map[string]any) (string, error) {
	value, ok := claims[r.UserClaim]
	if r.UserPointer {
		value, ok = find(claims, r.UserClaim)
	}
	if !ok || value == nil {
		return "", fmt.Errorf("claim %q not found in token", r.UserClaim)
	}
	name, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("claim %q could not be converted to string", r.UserClaim)
	}
	return name, nil
}

// groups are the names of the groups that the claims put the user into.
func (r *role) groups(claims map[string]any) ([]string, error) {
	if r.GroupsClaim == "" {
		return []string{}, nil
	}
	raw, ok := find(claims, r.GroupsClaim)
	switch {
	case !ok && r.GroupsOptional:
		return []string{}, nil
	case !ok:
		return nil, fmt.Errorf("failed to fetch groups: %q claim not found in token", r.GroupsClaim)
	}
	list, ok := values(raw)
	if !ok {
		return nil, fmt.Errorf("%q claim could not be converted to string list", r.GroupsClaim)
	}
	names := make([]string, 0, len(list))
	for _, item := range list {
		name, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("value %v in groups claim could not be parsed as string", item)
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}
