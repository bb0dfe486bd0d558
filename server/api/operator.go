package api

import (
	"context"
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
	initialise := write(keys.Init)
	initialise[http.MethodGet] = keys.InitStatus
	return map[string]operatorRoute{
		"init":                      {methods: initialise},
		"seal-status":               {methods: read(keys.SealStatus)},
		"seal-backend-status":       {methods: read(keys.SealBackendStatus)},
		"leader":                    {methods: read(keys.Leader)},
		"unseal":                    {methods: write(keys.Unseal)},
		"seal":                      {methods: write(keys.SealCall)},
		"step-down":                 {methods: write(keys.StepDown)},
		"rekey/init":                {attempt(rekey.Status, rekey.Start, rekey.Cancel), a.Rekey},
		"rekey/update":              {write(rekey.Update), a.Rekey},
		"rekey/verify":              {attempt(rekey.VerifyStatus, rekey.Verify, rekey.VerifyRestart), a.Rekey},
		"rekey-recovery-key/init":   {attempt(recovery.Status, recovery.Start, recovery.Cancel), a.Rekey},
		"rekey-recovery-key/update": {write(recovery.Update), a.Rekey},
		"rekey-recovery-key/verify": {attempt(recovery.VerifyStatus, recovery.Verify, recovery.VerifyRestart), a.Rekey},
		"generate-root/attempt": {
			attempt(keys.GenerateRootStatus, keys.GenerateRootStart, keys.GenerateRootCancel), a.GenerateRoot},
		"generate-root/update": {write(keys.GenerateRootUpdate), a.GenerateRoot},
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
			writeErrors(w, http.StatusMethodNotAllowed)
			return
		}
		call := core.Call{ID: newRequestID(), Path: r.URL.Path[len("/v1/"):], Operation: methods[r.Method],
			Token: clientToken(r), Client: client(r), Standing: standing(r, route.access)}
		if r.Method != http.MethodGet && hasBody(r) {
			in, err := a.receive(ctx, w, r, func(context.Context) (*pool, int64, error) {
				return a.Bodies.open, operatorText, nil
			})
			defer in.release()
			if err == nil {
				call.Params, err = in.params(parser{limits: a.JSON, secret: "key"})
			}
			if err != nil {
				a.respondError(w, r, call.ID, err)
				return
			}
		}
		answer, err := serve(ctx, call)
		if err != nil {
			a.respondError(w, r, call.ID, err)
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}
