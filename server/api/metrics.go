package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"coffer/engines"
	"coffer/server/core"
)

// metrics serves `sys/metrics`: to everybody where the listener says so, else to tokens whose policies grant
// reading the path.
func (a *api) metrics(w http.ResponseWriter, r *http.Request) {
	op, known := methods[r.Method]
	if !known || a.OpenMetrics && (op == engines.Header || op == engines.Options) {
		a.refuseMethod(w, r)
		return
	}
	call := core.Call{ID: newRequestID(), Path: "sys/metrics", Operation: op, Token: clientToken(r), Client: client(r)}
	if !a.OpenMetrics {
		if err := a.Core.MayUse(r.Context(), call); err != nil {
			a.respondError(w, r, call.ID, err)
			return
		}
	}
	if op != engines.Read {
		status, err := http.StatusMethodNotAllowed, engines.ErrUnsupported
		if op == engines.List {
			status, err = http.StatusNotFound, engines.ErrUnsupportedPath
		}
		w.Header()["Content-Type"] = contentJSON
		writeErrors(w, r, status, engines.Numbered(err.Error()))
		return
	}
	ctx := withDeadline(r.Context(), time.Now().Add(a.MaxRequestDuration))
	defer ctx.close()
	ctx.ledger.gate, ctx.ledger.r = a.Bodies, r
	defer ctx.ledger.release()
	text, contentType, err := a.metricsText(r)
	if err != nil {
		a.respondError(w, r, call.ID, err)
		return
	}
	w.Header().Set("Content-Type", contentType)
	status := http.StatusOK
	if contentType == plainText {
		status = http.StatusBadRequest
	}
	a.send(ctx, w, r, call.ID, status, text)
}

// plainText is the type of the answer to a format that is not known.
const plainText = "text/plain"

// metricsText returns the metrics as the client wants them: Prometheus' text for format=prometheus and for
// its scraper, Vault's JSON without a format.
func (a *api) metricsText(r *http.Request) (text []byte, contentType string, err error) {
	format := query(r).Get("format")
	switch {
	case format == "prometheus", format == "" && strings.HasPrefix(r.Header.Get("Accept"), "application/openmetrics-text"):
		return a.Core.Metrics().Text()
	case format == "":
		text, err = a.Core.Metrics().JSON()
		return text, contentJSON[0], err
	default:
		return fmt.Appendf(nil, "metric response format %q unknown", engines.Brief(format)), plainText, nil
	}
}
