package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"coffer/server/core"
)

// writeJSON writes a bare answer; nil is a 204. Once the answer is text it calls encoded, if that is not nil: from then
// on the request waits for its client alone.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, answer any, encoded func()) {
	var body []byte
	var err error
	if answer != nil {
		body, err = json.Marshal(answer)
	}
	if encoded != nil {
		encoded()
	}
	w.Header()["Content-Type"] = contentJSON
	switch {
	case err != nil:
		writeErrors(w, r, http.StatusInternalServerError)
	case body == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		body = append(body, '\n')
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		write(w, r, status, body)
	}
}

// health serves `sys/health`: the state of the server as a status code, for probes and balancers.
func (a *api) health(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, r, http.StatusMethodNotAllowed)
		return
	}
	health, err := a.Core.Health(r.Context())
	if err != nil {
		a.respondError(w, r, "", err)
		return
	}
	status, ok := healthStatus(health, query(r))
	switch {
	case !ok && r.Method == http.MethodHead:
		w.WriteHeader(http.StatusBadRequest)
		return
	case !ok:
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, r, http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodHead || status == http.StatusNoContent {
		w.Header()["Content-Type"] = contentJSON
		w.WriteHeader(status)
		return
	}
	writeJSON(w, r, status, health, nil)
}

// healthStatus picks the status code. A query parameter replaces the code of one state; one that is not
// a status makes the request bad, whichever state it is for.
func healthStatus(h core.Health, query url.Values) (status int, ok bool) {
	codes := map[string]int{
		"activecode": http.StatusOK, "standbycode": http.StatusTooManyRequests, "drsecondarycode": 472,
		"performancestandbycode": 473, "sealedcode": http.StatusServiceUnavailable, "uninitcode": http.StatusNotImplemented,
		"removedcode": 530, "haunhealthycode": 474,
		"unwritablecode": http.StatusInternalServerError, // coffer's own
	}
	for name := range codes {
		if texts := query[name]; len(texts) > 0 {
			code, err := strconv.Atoi(texts[0])
			if err != nil || code < 100 || code > 999 {
				return 0, false
			}
			codes[name] = code
		}
	}
	standbyOK, ok := flagged(query, "standbyok")
	if _, perfOK := flagged(query, "perfstandbyok"); !ok || !perfOK {
		return 0, false
	}
	switch {
	case !h.Initialized:
		return codes["uninitcode"], true
	case h.Sealed:
		return codes["sealedcode"], true
	case h.Standby && !standbyOK:
		return codes["standbycode"], true
	case h.StorageError != "":
		return codes["unwritablecode"], true
	default:
		return codes["activecode"], true
	}
}

// flagged reads a parameter that counts as true when it has no value. It reports false for what is no boolean.
func flagged(query url.Values, name string) (set, ok bool) {
	texts := query[name]
	switch {
	case len(texts) == 0:
		return false, true
	case texts[0] == "":
		return true, true
	}
	set, err := strconv.ParseBool(texts[0])
	return set, err == nil
}

// featureFlags serves `sys/internal/ui/feature-flags`, which there are none of.
func featureFlags(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, r, http.StatusMethodNotAllowed)
		return
	}
	writeJSON(w, r, http.StatusOK, map[string]any{"feature_flags": nil}, nil)
}
