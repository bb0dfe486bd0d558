package policy

import "fmt"

// defaultText grants what Vault's own "default" policy grants.
const defaultText = `
# A token may look at itself, renew itself, give itself up and ask what it may do.
path "auth/token/lookup-self" {
    capabilities = ["read"]
}
path "auth/token/renew-self" {
    capabilities = ["update"]
}
path "auth/token/revoke-self" {
    capabilities = ["update"]
}
path "sys/capabilities-self" {
    capabilities = ["update"]
}

# The sum of its policies, for user interfaces. The form of the answer may change.
path "sys/internal/ui/resultant-acl" {
    capabilities = ["read"]
}

# Its own entity.
path "identity/entity/id/{{identity.entity.id}}" {
    capabilities = ["read"]
}
path "identity/entity/name/{{identity.entity.name}}" {
    capabilities = ["read"]
}

# Leases whose id it knows; sys/renew is the path of older clients.
path "sys/renew" {
    capabilities = ["update"]
}
path "sys/leases/renew" {
    capabilities = ["update"]
}
path "sys/leases/lookup" {
    capabilities = ["update"]
}

# The private store of each token.
path "cubbyhole/*" {
    capabilities = ["create", "read", "update", "delete", "list"]
}

# Response wrapping.
path "sys/wrapping/wrap" {
    capabilities = ["update"]
}
path "sys/wrapping/lookup" {
    capabilities = ["update"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}

# Hashes of what the caller sends.
path "sys/tools/hash" {
    capabilities = ["update"]
}
path "sys/tools/hash/*" {
    capabilities = ["update"]
}

# The state of a control group request whose accessor it knows.
path "sys/control-group/request" {
    capabilities = ["update"]
}

# Sign-in with OIDC providers of this server.
path "identity/oidc/provider/+/authorize" {
    capabilities = ["read", "update"]
}
`

// responseWrappingText is what a wrapping token may do: fetch what it wraps.
const responseWrappingText = `
path "cubbyhole/response" {
    capabilities = ["create", "read"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}
`

// controlGroupText is what the token of a control group request may do.
const controlGroupText = `
path "cubbyhole/control-group" {
    capabilities = ["create", "read", "update"]
}
path "sys/wrapping/unwrap" {
    capabilities = ["update"]
}
`

// Default returns the built-in policy "default", which every token gets unless it asks not to. It may be
// overwritten but not deleted.
func Default() *Policy { return builtin("default", defaultText) }

// ResponseWrapping returns the built-in policy "response-wrapping" of wrapping tokens, which cannot be
// written or deleted.
func ResponseWrapping() *Policy { return builtin("response-wrapping", responseWrappingText) }

// ControlGroup returns the built-in policy "control-group", which cannot be written or deleted.
func ControlGroup() *Policy { return builtin("control-group", controlGroupText) }

// Root returns the built-in policy "root", which has no text.
func Root() *Policy { return &Policy{Name: RootName} }

func builtin(name, text string) *Policy {
	p, err := Parse(name, text)
	if err != nil {
		panic(fmt.Sprintf("policy: built-in policy %q: %v", name, err)) // a test parses them all
	}
	return p
}
