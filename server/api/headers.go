package api

import (
	"net/http"
	"slices"
	"strconv"

	"coffer/engines"
	"coffer/server/core"
	"coffer/server/mfa"
)

// The headers that every request is asked for, in the canonical form of net/http.
const (
	tokenHeader   = "X-Vault-Token" //nolint:gosec // a name, not a token
	wrapTTLHeader = "X-Vault-Wrap-Ttl"
	// These ask for another node, or to override soft mandatory policies.
	forwardHeader      = "X-Vault-Forward"
	inconsistentHeader = "X-Vault-Inconsistent"
	overrideHeader     = "X-Vault-Policy-Override"
	originHeader       = "Origin"
)

// first returns the first value of a header, or "". It is http.Header.Get for a name that is canonical already, which
// Get would make canonical again for each request.
func first(h http.Header, canonical string) string {
	if values := h[canonical]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// forwardAlways is the value of X-Vault-Inconsistent that asks for the active node.
const forwardAlways = "forward-active-node"

// decodeHeaders reads what Vault's own headers ask for. The order is Vault's.
func decodeHeaders(r *http.Request, call *core.Call) (err error) {
	if err := checkForwarding(r.Header); err != nil {
		return err
	}
	if header := first(r.Header, wrapTTLHeader); header != "" {
		ttl, err := engines.ParseDuration(header)
		if err != nil {
			return engines.Invalid("error parsing X-Vault-Wrap-TTL header: %v", err)
		}
		if ttl < 0 {
			return engines.Invalid("error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative")
		}
		call.WrapTTL = ttl
	}
	// There are no soft mandatory policies, so the flag has nothing to override.
	if header := first(r.Header, overrideHeader); header != "" {
		if _, err := strconv.ParseBool(header); err != nil {
			return engines.Invalid("failed to parse X-Vault-Policy-Override header: cannot parse '' as bool: %v", err)
		}
	}
	call.Factors, err = mfa.ParseHeader(r.Header)
	return err
}

// checkForwarding refuses requests for another node, as Vault does unless its configuration allows them: there is one
// node, and a client that asks for another must not think that it was there.
func checkForwarding(h http.Header) error {
	if first(h, forwardHeader) != "" {
		return engines.Invalid("forwarding via header X-Vault-Forward disabled in configuration")
	}
	if slices.Contains(h[inconsistentHeader], forwardAlways) {
		return engines.Invalid("forwarding via header X-Vault-Inconsistent=%s disabled in configuration", forwardAlways)
	}
	return nil
}
