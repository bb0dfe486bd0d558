package oidc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"coffer/auth/strictjson"
	"coffer/engines"
	"coffer/policy"
	"coffer/server/identity"
)

// reserved are the claims that a template must not set.
func reserved() []string {
	return []string{"iat", "aud", "exp", "iss", "sub", "namespace", "nonce", "auth_time", "at_hash", "c_hash"}
}

// maxTemplate bounds a role's template, in bytes.
const maxTemplate = 64 << 10

// templateText is a template as a role keeps it: what was sent, out of its base64 if it was in one.
func templateText(sent string) string {
	if b, err := base64.StdEncoding.DecodeString(sent); err == nil {
		return string(b)
	}
	return sent
}

// checkTemplate refuses a template that could not be filled in, or that says what only the server may say.
func checkTemplate(template string, now time.Time) error {
	if len(template) > maxTemplate {
		return engines.Invalid("template is longer than %d bytes", maxTemplate)
	}
	claims, err := claimsOf(template, identity.Nobody(), now)
	if err != nil {
		return err
	}
	for _, name := range reserved() {
		if _, taken := claims[name]; taken {
			return engines.Invalid("top level key %q not allowed. Restricted keys: %s", name, strings.Join(reserved(), ", "))
		}
	}
	return nil
}

// claimsOf are the claims that a template makes of a holder. Values are put in as JSON, so that no value
// can end its string and add a claim.
func claimsOf(template string, who *identity.Holder, now time.Time) (map[string]any, error) {
	if template == "" {
		return nil, nil //nolint:nilnil // no further claims
	}
	text, err := fill(template, who, now)
	if err != nil {
		return nil, engines.Invalid("error parsing template: %v", err)
	}
	claims, err := decodeClaims(text)
	if err != nil {
		return nil, engines.Invalid("error parsing template JSON: %v", err)
	}
	// Who reads the token may take "SUB" for "sub".
	if err := strictjson.Check([]byte(text), reserved()...); err != nil {
		return nil, engines.Invalid("error parsing template JSON: %v", err)
	}
	return claims, nil
}

// decodeClaims reads a JSON object. Values stay the JSON that they are: a number above 2^53 is the same in the token.
func decodeClaims(text string) (map[string]any, error) {
	var claims map[string]any
	if err := json.Unmarshal([]byte(text), &claims); err != nil {
		return nil, err
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		return nil, err
	}
	for name, value := range values {
		claims[name] = value
	}
	return claims, nil
}

// Errors of templates, in Vault's words.
var (
	errUnbalanced = errors.New("unbalanced templating characters")
	errNoGroups   = errors.New("string contains groups template directives but no groups were provided")
	errNoValue    = errors.New("no value could be found for one of the template directives")
)

func fill(template string, who *identity.Holder, now time.Time) (string, error) {
	var b strings.Builder
	parts := strings.Split(template, "{{")
	if strings.Contains(parts[0], "}}") {
		return "", errUnbalanced
	}
	b.WriteString(parts[0])
	for _, part := range parts[1:] {
		selector, rest, closed := strings.Cut(part, "}}")
		if !closed || strings.Contains(rest, "}}") {
			return "", errUnbalanced
		}
		value, err := valueOf(strings.TrimSpace(selector), who, now)
		if err != nil {
			return "", err
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return "", fmt.Errorf("encode a value: %w", err)
		}
		b.Write(encoded)
		b.WriteString(rest)
	}
	return b.String(), nil
}

// valueOf is what a selector stands for. What the holder does not have is "" or {}.
func valueOf(selector string, who *identity.Holder, now time.Time) (any, error) {
	switch {
	case strings.HasPrefix(selector, "time."):
		value, err := policy.TimeValue(selector, now)
		if err != nil {
			return nil, errNoValue
		}
		return strconv.ParseInt(value, 10, 64)
	case strings.HasPrefix(selector, "identity.groups."):
		return nil, errNoGroups
	case selector == "identity.entity.groups.names":
		return who.GroupNames(), nil
	case selector == "identity.entity.groups.ids":
		return who.GroupIDs(), nil
	}
	if metadata, ok := who.Metadata(selector); ok {
		if metadata == nil {
			metadata = map[string]string{}
		}
		return metadata, nil
	}
	value, err := who.Value(selector)
	if err == nil {
		return value, nil
	}
	if known(selector) {
		return "", nil
	}
	return nil, errNoValue
}

// known reports whether a selector asks for something that a holder may have.
func known(selector string) bool {
	rest, ok := strings.CutPrefix(selector, "identity.entity.")
	if !ok {
		return false
	}
	if slices.Contains([]string{"id", "name"}, rest) || strings.HasPrefix(rest, "metadata.") {
		return true
	}
	alias, ok := strings.CutPrefix(rest, "aliases.")
	_, what, _ := strings.Cut(alias, ".")
	return ok && (what == "id" || what == "name" || strings.HasPrefix(what, "metadata.") ||
		strings.HasPrefix(what, "custom_metadata."))
}
