package api

import (
	"context"
	"errors"
	"net/http"

	"coffer/server/core"
)

// operatorCall serves one method of an operator's route. What it returns is sent as it is, not in the
// envelope; nil is a 204.
type operatorCall func(ctx context.Context, call core.Call) (any, error)

// operatorMethods are the methods of one operator's route.
type operatorMethods map[string]operatorCall

// operatorRoute is one route, and who may use it without a token.
type operatorRoute struct {
	methods operatorMethods
	access  Access
	// sent is called when the answer of a write was sent to a client that was still there; nil for nobody.
	sent func(context.Context)
}

// operatorRoutes are the routes below sys/ that work without a token and, most of them, while the
// server is sealed.
func (a *api) operatorRoutes() map[string]operatorRoute {
	keys, rekey, recovery := a.Core, a.Core.Rekey(), a.Core.RekeyRecovery()
	write := func(f operatorCall) operatorMethods {
		return operatorMethods{http.MethodPut: f, http.MethodPost: f}
	}
	read := func(f operatorCall) operatorMethods { return operatorMethods{http.MethodGet: f} }
	attempt := func(status, start, cancel operatorCall) operatorMethods {
		m := write(start)
		m[http.MethodGet], m[http.MethodDelete] = status, cancel
		return m
	}
	rooted := attempt(keys.GenerateRootStatus, keys.GenerateRootStart, keys.GenerateRootCancel)
	initialise := write(keys.Init)
	initialise[http.MethodGet] = keys.InitStatus
	rekeying := func(m operatorMethods) operatorRoute { return operatorRoute{methods: m, access: a.Rekey} }
	rooting := func(m operatorMethods) operatorRoute { return operatorRoute{methods: m, access: a.GenerateRoot} }
	former := operatorMethods{http.MethodGet: rekey.Former, http.MethodDelete: rekey.EndFormer}
	return map[string]operatorRoute{
		"init":                      {methods: initialise, sent: keys.InitAnswered},
		"seal-status":               {methods: read(keys.SealStatus)},
		"seal-backend-status":       {methods: read(keys.SealBackendStatus)},
		"leader":                    {methods: read(keys.Leader)},
		"unseal":                    {methods: write(keys.Unseal)},
		"seal":                      {methods: write(keys.SealCall)},
		"step-down":                 {methods: write(keys.StepDown)},
		"rekey/init":                rekeying(attempt(rekey.Status, rekey.Start, rekey.Cancel)),
		"rekey/update":              rekeying(write(rekey.Update)),
		"rekey/verify":              rekeying(attempt(rekey.VerifyStatus, rekey.Verify, rekey.VerifyRestart)),
		"rekey/former":              rekeying(former),
		"rekey-recovery-key/init":   rekeying(attempt(recovery.Status, recovery.Start, recovery.Cancel)),
		"rekey-recovery-key/update": rekeying(write(recovery.Update)),
		"rekey-recovery-key/verify": rekeying(attempt(recovery.VerifyStatus, recovery.Verify, recovery.VerifyRestart)),
		"generate-root/attempt":     rooting(rooted),
		"generate-root/update":      rooting(write(keys.GenerateRootUpdate)),
	}
}

// operator serves an operator's route.
func (a *api) operator(route operatorRoute) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), a.MaxRequestDuration)
		defer cancel()
		serve, ok := route.methods[r.Method]
		if !ok {
			w.Header()["Content-Type"] = contentJSON
			writeErrors(w, r, http.StatusMethodNotAllowed)
			return
		}
		call := core.Call{ID: newRequestID(), Path: r.URL.Path[len("/v1/"):], Operation: methods[r.Method],
			Token: clientToken(r), Client: client(r), Standing: standing(r, route.access)}
		done := func() {}
		if r.Method != http.MethodGet && hasBody(r) {
			in, err := a.receive(ctx, w, r, func(context.Context) (*pool, int64, error) {
				return a.Bodies.open, operatorText, nil
			})
			defer in.release() // of what panics; the rest is given back before the answer is written
			if err == nil {
				call.Params, err = in.params(parser{limits: a.JSON, secret: "key"})
			}
			done = func() { call.Params = nil; in.release() }
			if err != nil {
				done()
				a.respondError(w, r, call.ID, err)
				return
			}
		}
		answer, err := serve(ctx, call)
		if err != nil {
			done()
			a.respondError(w, r, call.ID, err)
			return
		}
		writeJSON(w, r, http.StatusOK, answer, done)
		if route.sent != nil && r.Method != http.MethodGet && reached(w, r) {
			route.sent(context.WithoutCancel(ctx))
		}
	}
}

// reached sends what was written and reports whether the client was still there.
func reached(w http.ResponseWriter, r *http.Request) bool {
	err := http.NewResponseController(w).Flush()
	return (err == nil || errors.Is(err, http.ErrNotSupported)) && r.Context().Err() == nil
}
