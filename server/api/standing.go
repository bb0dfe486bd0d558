package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"coffer/server/core"
)

// Access says who may take part in a ceremony of the operators without a token.
type Access int

// Accesses.
const (
	// AtMachine is whoever sits at the machine, or in the pod.
	AtMachine Access = iota
	// Everybody may.
	Everybody
	// Nobody may.
	Nobody
)

// standing is what the way of a request says about its sender.
func standing(r *http.Request, access Access) core.Standing {
	switch {
	case access == Everybody && !atMachine(r):
		return core.Guest
	case access != Nobody && atMachine(r):
		return core.AtMachine
	default:
		return core.Stranger
	}
}

// atMachine reports whether a request comes from somebody at the machine: over loopback, to a loopback address, and
// neither through a proxy nor out of a web browser. A proxy on the machine speaks for strangers, and so does a web
// page in the operator's browser.
//
// r.RemoteAddr is that of the TCP connection here: it is replaced for requests with X-Forwarded-For only.
func atMachine(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() || !isLoopback(r.Host) {
		return false
	}
	// nginx before 1.29.7 speaks HTTP/1.0 to what is behind it unless told otherwise, and adds no header.
	if !r.ProtoAtLeast(1, 1) {
		return false
	}
	for name := range r.Header {
		if isForeign(name) {
			return false
		}
	}
	return true
}

// isForeign reports whether a header, in its canonical form, is one that proxies or browsers add.
func isForeign(name string) bool {
	switch name {
	case "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "X-Original-Forwarded-For",
		"X-Originating-Ip", "X-Remote-Ip", "X-Remote-Addr", "X-Envoy-External-Address", "X-Envoy-Internal",
		"True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "Fly-Client-Ip", "Origin":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded") || strings.HasPrefix(name, "Sec-Fetch-")
}

// isLoopback reports whether a Host header names this machine as only it can be named on it. A proxy that hides whom it
// speaks for often keeps the name that strangers asked for.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host = strings.Trim(host, "[]"); strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
