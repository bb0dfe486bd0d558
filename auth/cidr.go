package auth

import (
	"net/netip"
	"slices"
	"strings"

	"coffer/engines"
)

// ParseCIDRs reads networks; an address alone is a network of one. It returns an ErrInvalid in Vault's words.
func ParseCIDRs(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return nil, engines.Invalid("error parsing address %q: Unable to convert %q to an IPv4 or IPv6 address, "+
					"or a UNIX Socket", text, text)
			}
			p = netip.PrefixFrom(a.WithZone(""), a.BitLen())
		}
		list = append(list, p)
	}
	return list, nil
}

// CIDRTexts writes networks as Vault does: one address without its mask. The list is never nil.
func CIDRTexts(list []netip.Prefix) []string {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		if p.IsSingleIP() {
			texts = append(texts, p.Addr().String())
		} else {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// Admits reports whether addr is in one of the networks; no networks admit everybody. An address that is not
// known is in none.
func Admits(networks []netip.Prefix, addr netip.Addr) bool {
	if len(networks) == 0 {
		return true
	}
	addr = addr.Unmap()
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// Intersect returns the networks that are in both lists, of which an empty one stands for everywhere. It reports false
// when both bind and nothing is in both: an empty list would bind nothing then.
func Intersect(a, b []netip.Prefix) ([]netip.Prefix, bool) {
	switch {
	case len(a) == 0:
		return b, true
	case len(b) == 0:
		return a, true
	}
	var both []netip.Prefix
	for _, p := range a {
		for _, q := range b {
			// Of two networks one holds the other, or they have nothing in common.
			switch narrow := narrower(p, q); {
			case !p.Overlaps(q), slices.Contains(both, narrow):
			default:
				both = append(both, narrow)
			}
		}
	}
	return both, len(both) > 0
}

func narrower(p, q netip.Prefix) netip.Prefix {
	if p.Bits() >= q.Bits() {
		return p
	}
	return q
}
