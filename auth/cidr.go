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
