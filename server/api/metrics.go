package api

import (
	"net/http"

	"coffer/engines"
	"coffer/server/core"
)

// metrics serves `sys/metrics` in Prometheus' text format: to everybody where the listener says so, else
// to tokens whose policies grant reading the path.
func (a *api) metrics(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, http.StatusMethodNotAllowed, core.Numbered(engines.ErrUnsupported.Error()))
		return
	}
	call := core.Call{ID: newRequestID(), Path: "sys/metrics", Operation: engines.Read,
		Token: clientToken(r), Client: client(r)}
	if !a.OpenMetrics {
		if err := a.Core.MayRead(r.Context(), call); err != nil {
			a.respondError(w, r, call.ID, err)
			return
		}
	}
	text, contentType, err := a.Core.Metrics().Text()
	if err != nil {
		a.respondError(w, r, call.ID, err)
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(text) // a client that is gone needs no answer
}
