package policy

import (
	"slices"
	"strings"
)

// Capability is a set of the things a policy can grant at a path. The zero value grants nothing.
type Capability uint16

// The capabilities, named as policies name them. Deny beats all others.
const (
	Deny Capability = 1 << iota
	Create
	Read
	Update
	Delete
	List
	Sudo
	Patch
	Subscribe
	Recover
)

// capabilityNames holds the name of each bit, in the order of the constants above.
var capabilityNames = [...]string{
	"deny", "create", "read", "update", "delete", "list", "sudo", "patch", "subscribe", "recover",
}

// capabilityNamed returns the capability called name; names are case-sensitive, as Vault's are.
func capabilityNamed(name string) (Capability, bool) {
	i := slices.Index(capabilityNames[:], name)
	if i < 0 {
		return 0, false
	}
	return 1 << i, true
}

// Has reports whether c holds all of want.
func (c Capability) Has(want Capability) bool { return c&want == want }

// Names returns the names of the capabilities in c in alphabetical order, which is how sys/capabilities
// prints them.
func (c Capability) Names() []string {
	names := make([]string, 0, len(capabilityNames))
	for i, name := range capabilityNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// String returns the names of c in alphabetical order, separated by ", ".
func (c Capability) String() string { return strings.Join(c.Names(), ", ") }
