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

// atMachine reports whether a request comes from somebody at the machine: over loopback, to a loopback address, or over
// a Unix socket from root or the server's own user, and neither through a proxy nor out of a web browser. A proxy on
// the machine speaks for strangers, and so does a web page in the operator's browser.
//
// Being able to open the socket is not enough: a socket is what proxies are often given, and nginx from 1.29.7 on sends
// over it what a command line could have sent. Whom the kernel says to be root or the server's user can read the
// server's files, so nothing is given to him. Proxies run as users of their own.
//
// r.RemoteAddr is that of the TCP connection here: it is replaced for requests with X-Forwarded-For only.
func atMachine(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	overLoopback := err == nil && peer.Addr().Unmap().IsLoopback()
	if !overLoopback && !fromTrustedUser(r.Context()) || !isLoopback(r.Host) {
		return false
	}
	// nginx before 1.29.7 speaks HTTP/1.0 to what is behind it unless told otherwise, and adds no header.
	if !r.ProtoAtLeast(1, 1) {
		return false
	}
	for name := range r.Header {
		if !isPlain(name) {
			return false
		}
	}
	return !strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

// isPlain reports whether a header, in its canonical form, is one that command lines and client libraries send. Proxies
// and browsers add others, of which nobody has a whole list.
func isPlain(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Authorization", "Cache-Control", "Connection", "Content-Length", "Content-Type",
		"Expect", "Host", "Keep-Alive", "Pragma", "Te", "Transfer-Encoding", "User-Agent":
		return true
	}
	return strings.HasPrefix(name, "X-Vault-")
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
