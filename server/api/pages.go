package api

import (
	"net/http"
)

// noUI answers where Vault's web interface would be.
func noUI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	write(w, r, http.StatusOK, []byte(noUIPage))
}

const noUIPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>coffer</title></head>
<body><h1>coffer has no web interface</h1>
<p>The server is at work. Use the command line <code>vault</code> or any other client of Vault's HTTP API, below
<code>/v1</code>.</p></body></html>
`

// wellKnown answers below /.well-known/ (RFC 8615), where Vault's plugins register their paths: there are none.
func (a *api) wellKnown(w http.ResponseWriter, r *http.Request) {
	w.Header()["Content-Type"] = contentJSON
	if a.Core.Sealed() {
		w.Header().Del("Strict-Transport-Security")
		writeErrors(w, r, http.StatusServiceUnavailable, "node is not active")
		return
	}
	writeErrors(w, r, http.StatusNotFound)
}

// notFound answers for a path outside the API. With `ui = true` it leads to the page, as in Vault.
func (a *api) notFound(w http.ResponseWriter, r *http.Request) {
	if a.UI {
		redirect(w, r, "/ui/")
		return
	}
	endBy(w, r, patientGrace)
	http.NotFound(w, r)
}
