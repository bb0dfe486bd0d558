package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// Forwarded are a listener's x_forwarded_for_* settings.
type Forwarded struct {
	// Authorized are the networks whose header is believed.
	Authorized []netip.Prefix
	// Socket believes whoever opens the Unix socket, who has no address.
	Socket bool
	// HopSkips is how many addresses at the end of the header to pass over.
	HopSkips int
	// RejectNotPresent refuses authorised peers without the header.
	RejectNotPresent bool
	// RequireHeader refuses every peer without the header.
	RequireHeader bool
	// RejectNotAuthorized refuses the header from other peers instead of ignoring it.
	RejectNotAuthorized bool
}

// forwarded sets the request's address to the client's where a trusted proxy names it, and answers a
// request that the settings refuse.
func (a *api) forwarded(w http.ResponseWriter, r *http.Request) bool {
	f := a.Forwarded
	if f == nil {
		return true
	}
	text, present := forwardedFor(r)
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	refuse := func(message string) bool {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, r, http.StatusBadRequest, message)
		return false
	}
	proxy := f.Socket
	if err == nil {
		proxy = f.trusts(peer.Addr().Unmap())
	}
	switch {
	case !present && (f.RequireHeader || f.RejectNotPresent && proxy):
		return refuse("missing x-forwarded-for header and configured to reject when not present")
	case !present:
		return true
	case !proxy:
		if f.RejectNotAuthorized {
			return refuse("client address not authorized for x-forwarded-for and configured to reject connection")
		}
		return true
	}
	hops := strings.Split(text, ",")
	at := len(hops) - 1 - f.HopSkips
	if at < 0 {
		return refuse("malformed x-forwarded-for configuration or request, hops to skip exceed the header's addresses")
	}
	client, err := netip.ParseAddr(strings.TrimSpace(hops[at]))
	if err != nil {
		return refuse("malformed x-forwarded-for header")
	}
	// Over a socket there is no port, and the zero value says 0.
	r.RemoteAddr = netip.AddrPortFrom(client, peer.Port()).String()
	return true
}

func forwardedFor(r *http.Request) (string, bool) {
	values := r.Header.Values("X-Forwarded-For")
	return strings.Join(values, ","), len(values) > 0
}

func (f *Forwarded) trusts(addr netip.Addr) bool {
	for _, network := range f.Authorized {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
