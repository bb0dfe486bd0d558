package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"coffer/server/core"
)

// writeJSON writes a bare answer; nil is a 204.
func writeJSON(w http.ResponseWriter, status int, answer any) {
	w.Header()["Content-Type"] = contentJSON
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		writeErrors(w, http.StatusInternalServerError)
		return
	}
	body = append(body, '\n')
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// health serves `sys/health`: the state of the server as a status code, for probes and balancers.
func (a *api) health(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, http.StatusMethodNotAllowed)
		return
	}
	health, err := a.Core.Health(r.Context())
	if err != nil {
		a.respondError(w, r, "", err)
		return
	}
	status, ok := healthStatus(health, r.URL.Query())
	if !ok {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodHead || status == http.StatusNoContent {
		w.Header()["Content-Type"] = contentJSON
		w.WriteHeader(status)
		return
	}
	writeJSON(w, status, health)
}

// healthStatus picks the status code. A query parameter replaces the code of one state; one that is not
// a number makes the request bad.
func healthStatus(h core.Health, query url.Values) (status int, ok bool) {
	codes := map[string]int{
		"activecode": http.StatusOK, "standbycode": http.StatusTooManyRequests, "drsecondarycode": 472,
		"performancestandbycode": 473, "sealedcode": http.StatusServiceUnavailable, "uninitcode": http.StatusNotImplemented,
	}
	for name := range codes {
		if text := query.Get(name); text != "" {
			code, err := strconv.Atoi(text)
			if err != nil || code < 100 || code > 999 {
				return 0, false
			}
			codes[name] = code
		}
	}
	_, standbyOK := query["standbyok"]
	switch {
	case !h.Initialized:
		return codes["uninitcode"], true
	case h.Sealed:
		return codes["sealedcode"], true
	case h.Standby && !standbyOK:
		return codes["standbycode"], true
	default:
		return codes["activecode"], true
	}
}

// featureFlags serves `sys/internal/ui/feature-flags`, which there are none of.
func featureFlags(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, http.StatusMethodNotAllowed)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"feature_flags": nil})
}
