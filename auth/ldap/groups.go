package ldap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"
)

// What is asked for where any entry will do, and where its name is enough (RFC 4511, 4.5.1.8).
const (
	anything     = "(objectClass=*)"
	noAttributes = "1.1"
)

// Bounds of what is asked for.
const (
	maxGroups      = 10_000
	maxTokenGroups = 1_000
)

// groups are the names of the groups that the user is in, each once, in the directory's order.
func (d *directory) groups(dn, username string) ([]string, error) {
	entries, err := d.groupEntries(dn, username)
	if err != nil {
		return nil, fmt.Errorf("search for groups: %w", err)
	}
	g := &d.config.Groups
	var names []string
	seen := map[string]bool{}
	add := func(text string) {
		if name := commonName(text, g.OldCN); name != "" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, entry := range entries {
		values := entry.GetEqualFoldAttributeValues(g.Attribute)
		if len(values) == 0 {
			add(entry.DN)
		}
		for _, value := range values {
			add(value)
		}
	}
	return names, nil
}

// commonName is the CN of a name, or the text itself when it is not one.
func commonName(text string, upperOnly bool) string {
	dn, err := goldap.ParseDN(text)
	if err != nil {
		return text
	}
	for _, rdn := range dn.RDNs {
		for _, a := range rdn.Attributes {
			if a.Type == "CN" || !upperOnly && strings.EqualFold(a.Type, "CN") {
				return a.Value
			}
		}
	}
	return text
}

func (d *directory) groupEntries(dn, username string) ([]*goldap.Entry, error) {
	g := &d.config.Groups
	if g.TokenGroups {
		return d.tokenGroups(dn)
	}
	if g.Base == "" || g.Filter == "" {
		return nil, nil // nothing says where or how
	}
	f, err := d.config.groupFilter()
	if err != nil {
		return nil, err
	}
	text := f.with(map[string]string{"UserDN": dn, "Username": username})
	return d.search(g.Base, goldap.ScopeWholeSubtree, text, []string{g.Attribute}, maxGroups, g.PageSize)
}

// tokenGroups finds the groups, nested ones as well, that Active Directory computes for a user.
func (d *directory) tokenGroups(dn string) ([]*goldap.Entry, error) {
	found, err := d.search(dn, goldap.ScopeBaseObject, anything, []string{"tokenGroups"}, 1, 0)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	ids := found[0].GetRawAttributeValues("tokenGroups")
	if len(ids) > maxTokenGroups {
		return nil, goldap.ErrSizeLimitExceeded
	}
	var entries []*goldap.Entry
	for _, raw := range ids {
		id, err := securityID(raw)
		if err != nil {
			return nil, err
		}
		group, err := d.search("<SID="+id+">", goldap.ScopeBaseObject, anything, []string{noAttributes}, 1, 0)
		if goldap.IsErrorWithCode(err, goldap.LDAPResultNoSuchObject) {
			continue // a group of another domain
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, group...)
	}
	return entries, nil
}

// errSID is returned for bytes that are not a security identifier.
var errSID = errors.New("malformed security identifier")

// securityID writes a security identifier ([MS-DTYP] 2.4.2) in its usual form, S-1-5-….
func securityID(raw []byte) (string, error) {
	const head, each = 8, 4
	if len(raw) < head || len(raw) != head+each*int(raw[1]) {
		return "", errSID
	}
	var authority uint64
	for _, b := range raw[2:head] {
		authority = authority<<8 | uint64(b)
	}
	text := fmt.Sprintf("S-%d-%d", raw[0], authority)
	for rest := raw[head:]; len(rest) > 0; rest = rest[each:] {
		text += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(rest))
	}
	return text, nil
}
