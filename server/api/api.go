// Package api is the HTTP face: it turns an HTTP request into a call of the core, and the core's
// answer or error back into Vault's JSON. No other package knows net/http's server side.
package api

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"coffer/server/core"
)

// Config is what one listener's handler needs.
type Config struct {
	Core   *core.Core
	Logger *slog.Logger
	// MaxRequestSize bounds a body in bytes; above zero.
	MaxRequestSize int64
	// MaxRequestDuration bounds a request; above zero.
	MaxRequestDuration time.Duration
	JSON               JSONLimits
	// Bodies bounds the memory of all bodies together; listeners share one.
	Bodies *BodyGate
	// Forwarded says whose X-Forwarded-For header is believed; nil for nobody's.
	Forwarded *Forwarded
	// RequireHeader refuses requests without "X-Vault-Request: true", as browsers cannot be made to send it.
	RequireHeader bool
	// OpenMetrics serves sys/metrics without a token.
	OpenMetrics bool
	// UI tells whether a web page is configured.
	UI bool
	// GenerateRoot and Rekey say who may take part in these ceremonies without a token.
	GenerateRoot, Rekey Access
}

// api serves one listener.
type api struct {
	Config
}

// New returns the handler of one listener.
func New(cfg Config) http.Handler {
	a := &api{Config: cfg}
	registerList()
	r := chi.NewRouter()
	r.NotFound(a.notFound)
	r.MethodNotAllowed(a.refuseMethod)
	r.HandleFunc("/v1/*", a.logical)
	r.HandleFunc("/v1/sys/health", a.health)
	r.HandleFunc("/v1/sys/internal/ui/feature-flags", featureFlags)
	for path, route := range a.operatorRoutes() {
		r.HandleFunc("/v1/sys/"+path, a.operator(route))
	}
	r.HandleFunc("/v1/sys/metrics", a.metrics)
	// Nothing registers with it: in Vault it is for engines of the enterprise edition and for plugins.
	r.HandleFunc("/.well-known/*", a.wellKnown)
	if a.UI {
		r.HandleFunc("/ui/*", noUI)
	}
	return a.front(r)
}

// front does what every request needs before it is routed: the headers of every answer, one canonical
// form of the path, and the client's address.
func (a *api) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Cache-Control"] = noStore
		h["Strict-Transport-Security"] = strictTransport
		if !a.bounded(w, r) {
			return
		}
		if a.RequireHeader && r.Header.Get("X-Vault-Request") != "true" {
			h["Content-Type"] = contentJSON
			writeErrors(w, r, http.StatusPreconditionFailed, "missing 'X-Vault-Request' header")
			return
		}
		if !a.canonical(w, r) || !a.forwarded(w, r) || !a.cors(w, r) {
			return
		}
		if path := r.URL.Path; strings.HasPrefix(path, "/v1/") && !strings.HasPrefix(path, "/v1/sys/") {
			// Every path outside sys/ is an engine's: there is nothing for the router to decide.
			a.logical(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// registerList tells the router of Vault's own method.
var registerList = sync.OnceFunc(func() { chi.RegisterMethod("LIST") })

// The values of the headers that every answer carries, made once.
var (
	noStore         = []string{"no-store"}
	strictTransport = []string{"max-age=31536000; includeSubDomains"}
	contentJSON     = []string{"application/json"}
)
