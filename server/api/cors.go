package api

import (
	"net/http"
	"slices"
	"strings"

	"coffer/server/sys"
)

// corsMethods are the methods that a web page of a permitted origin may use.
var corsMethods = []string{"DELETE", "GET", "OPTIONS", "POST", "PUT", "PATCH", "LIST"}

// cors applies `sys/config/cors` (the Fetch standard's CORS protocol) to requests of web pages. It answers
// preflights and refuses foreign origins; false means that it has answered. The server's own pages are not foreign.
func (a *api) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := first(r.Header, originHeader)
	if origin == "" || isOwn(origin, r.Host) {
		return true
	}
	settings := a.Core.CORS()
	if !settings.Enabled {
		return true
	}
	h := w.Header()
	if !slices.Contains(settings.Origins, "*") && !slices.Contains(settings.Origins, origin) {
		h["Content-Type"] = contentJSON
		writeErrors(w, r, http.StatusForbidden, "origin not allowed")
		return false
	}
	wanted := r.Header.Get("Access-Control-Request-Method")
	if r.Method == http.MethodOptions && !slices.Contains(corsMethods, wanted) {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Vary", "Origin")
	if r.Method != http.MethodOptions {
		return true
	}
	h.Del("Strict-Transport-Security")
	h.Set("Access-Control-Allow-Headers", strings.Join(slices.Concat(sys.DefaultCORSHeaders(), settings.Headers), ","))
	h.Set("Access-Control-Allow-Methods", strings.Join(corsMethods, ","))
	h.Set("Access-Control-Max-Age", "300")
	w.WriteHeader(http.StatusOK)
	return false
}

// isOwn reports whether an origin is that of the host a request was sent to. The scheme may be either: a proxy may
// have taken TLS off.
func isOwn(origin, host string) bool {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(origin, scheme); ok {
			return host != "" && strings.EqualFold(rest, host)
		}
	}
	return false
}
