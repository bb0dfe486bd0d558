package api

import (
	"context"
	"net/http"

	"coffer/engines"
	"coffer/server/core"
)

// operatorCall serves one method of an operator's route. What it returns is sent as it is, not in the
// envelope; nil is a 204.
type operatorCall func(ctx context.Context, call core.Call) (any, error)

// operatorMethods are the methods of one operator's route.
type operatorMethods map[string]operatorCall

// operatorRoutes are the routes below sys/ that work without a token and, most of them, while the
// server is sealed.
func (a *api) operatorRoutes() map[string]operatorMethods {
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
	return map[string]operatorMethods{
		"init":                      initialise,
		"seal-status":               read(keys.SealStatus),
		"seal-backend-status":       read(keys.SealBackendStatus),
		"leader":                    read(keys.Leader),
		"unseal":                    write(keys.Unseal),
		"seal":                      write(keys.SealCall),
		"step-down":                 write(keys.StepDown),
		"rekey/init":                attempt(rekey.Status, rekey.Start, rekey.Cancel),
		"rekey/update":              write(rekey.Update),
		"rekey/verify":              attempt(rekey.VerifyStatus, rekey.Verify, rekey.VerifyRestart),
		"rekey-recovery-key/init":   attempt(recovery.Status, recovery.Start, recovery.Cancel),
		"rekey-recovery-key/update": write(recovery.Update),
		"rekey-recovery-key/verify": attempt(recovery.VerifyStatus, recovery.Verify, recovery.VerifyRestart),
		"generate-root/attempt":     attempt(keys.GenerateRootStatus, keys.GenerateRootStart, keys.GenerateRootCancel),
		"generate-root/update":      write(keys.GenerateRootUpdate),
	}
}

// operator serves an operator's route.
func (a *api) operator(methods operatorMethods) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), a.MaxRequestDuration)
		defer cancel()
		serve, ok := methods[r.Method]
		if !ok {
			w.Header()["Content-Type"] = contentJSON
			writeErrors(w, http.StatusMethodNotAllowed)
			return
		}
		call := core.Call{ID: newRequestID(), Path: r.URL.Path[len("/v1/"):], Operation: engines.Update,
			Token: clientToken(r), Client: client(r)}
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
