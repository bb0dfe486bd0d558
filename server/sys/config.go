package sys

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"coffer/engines"
)

// maxHeaders bounds how many headers can be configured for audit, and for the web interface.
const maxHeaders = 128

var errTooManyHeaders = engines.Invalid("no more than %d headers can be configured", maxHeaders)

func (e *engine) corsRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("config/cors", "Read or change which web pages may call the API.", engines.Sudo(),
			engines.OnRead(e.readCORS), engines.OnUpdate(e.writeCORS), engines.OnDelete(e.deleteCORS)),
	}
}

func (e *engine) readCORS(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	cors := e.Settings.CORS()
	data := map[string]any{"enabled": cors.Enabled}
	if cors.Enabled {
		data["allowed_origins"] = cors.Origins
		data["allowed_headers"] = append(DefaultCORSHeaders(), cors.Headers...)
	}
	return flat(data)
}

type corsParams struct {
	Enable  bool     `param:"enable" help:"Accepted for compatibility: writing enables."`
	Origins []string `param:"allowed_origins" as:"name" help:"Origins that may call, or \"*\" alone."`
	Headers []string `param:"allowed_headers" as:"name" help:"Headers that may be sent besides the usual ones."`
}

func (e *engine) writeCORS(ctx context.Context, _ *engines.Request, p corsParams) (*engines.Response, error) {
	switch {
	case len(p.Origins) == 0:
		return nil, engines.Failed("%s", engines.Numbered("at least one origin or the wildcard must be provided"))
	case len(p.Origins) > 1 && slices.Contains(p.Origins, "*"):
		return nil, engines.Failed("%s",
			engines.Numbered("to allow all origins the '*' must be the only value for allowed_origins"))
	}
	if err := e.Settings.setCORS(ctx, CORS{Enabled: true, Origins: p.Origins, Headers: p.Headers}); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) deleteCORS(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	if err := e.Settings.setCORS(ctx, CORS{}); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) headerRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("config/auditing/request-headers", "List the request headers that are audited.",
			engines.Sudo(), engines.OnRead(e.listAuditHeaders)),
		engines.Path("config/auditing/request-headers/{header+}", "Read, add or remove a request header that is audited.",
			engines.CaseInsensitive("header"), engines.KeepSpelling("header"),
			engines.Sudo(), engines.OnRead(e.readAuditHeader), engines.OnUpdate(e.writeAuditHeader),
			engines.OnDelete(e.deleteAuditHeader)),
		engines.Path("config/ui/headers", "List the headers of the web interface.",
			engines.Sudo(), engines.OnList(e.listUIHeaders)),
		engines.Path("config/ui/headers/{header}", "Read, set or remove a header of the web interface.",
			engines.CaseInsensitive("header"), engines.KeepSpelling("header"),
			engines.Sudo(), engines.OnRead(e.readUIHeader), engines.OnUpdate(e.writeUIHeader),
			engines.OnDelete(e.deleteUIHeader)),
	}
}

func (e *engine) listAuditHeaders(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	headers := make(map[string]any)
	for name, hashed := range e.Settings.AuditHeaders() {
		headers[name] = map[string]any{"hmac": hashed}
	}
	return flat(map[string]any{"headers": headers})
}

type headerParams struct {
	Header string `path:"header" help:"Name of the header."`
}

func (e *engine) readAuditHeader(_ context.Context, _ *engines.Request, p headerParams) (*engines.Response, error) {
	hashed, ok := e.Settings.AuditHeaders()[engines.FoldASCII(p.Header)]
	if !ok {
		return nil, engines.Invalid("Could not find header in config")
	}
	return flat(map[string]any{p.Header: map[string]any{"hmac": hashed}})
}

type auditHeaderParams struct {
	Header string `path:"header" help:"Name of the header."`
	HMAC   bool   `param:"hmac" help:"Whether its values are hashed."`
}

func (e *engine) writeAuditHeader(
	ctx context.Context, _ *engines.Request, p auditHeaderParams,
) (*engines.Response, error) {
	if name := engines.FoldASCII(p.Header); SecretHeader(name) && !p.HMAC {
		return nil, engines.Invalid("the values of %s are secrets, which are audited with hmac=true only", name)
	}
	if err := e.Settings.setAuditHeader(ctx, p.Header, &p.HMAC); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) deleteAuditHeader(ctx context.Context, _ *engines.Request, p headerParams) (*engines.Response, error) {
	if err := e.Settings.setAuditHeader(ctx, p.Header, nil); err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) listUIHeaders(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return engines.ListResponse(slices.Sorted(maps.Keys(e.Settings.UIHeaders())))
}

type readUIHeaderParams struct {
	Header     string `path:"header" help:"Name of the header."`
	Multivalue bool   `param:"multivalue" help:"Answer with all values."`
}

func (e *engine) readUIHeader(_ context.Context, _ *engines.Request, p readUIHeaderParams) (*engines.Response, error) {
	values := e.Settings.UIHeaders()[http.CanonicalHeaderKey(p.Header)]
	switch {
	case len(values) == 0:
		return nil, engines.NotFound()
	case p.Multivalue:
		return read(map[string]any{"values": values})
	default:
		return read(map[string]any{"value": values[0]})
	}
}

type uiHeaderParams struct {
	Header string `path:"header" help:"Name of the header."`
	// Values is a list or one text, which is not split at commas: header values hold them.
	Values any `param:"values" help:"Values of the header."`
}

func (e *engine) writeUIHeader(ctx context.Context, _ *engines.Request, p uiHeaderParams) (*engines.Response, error) {
	values, ok := texts(p.Values)
	if !ok || len(values) == 0 {
		return nil, engines.Invalid("header and values must be specified")
	}
	if strings.HasPrefix(engines.FoldASCII(p.Header), "x-vault-") {
		return nil, engines.Invalid("X-Vault headers cannot be set")
	}
	for _, value := range values {
		if strings.ContainsAny(value, "\r\n\x00") {
			return nil, engines.Invalid("header values cannot contain line breaks")
		}
	}
	if err := e.Settings.setUIHeader(ctx, p.Header, values); err != nil {
		return nil, err
	}
	resp := &engines.Response{Status: http.StatusOK}
	if http.CanonicalHeaderKey(p.Header) == "Content-Security-Policy" {
		resp.Warnings = []string{
			"overriding default Content-Security-Policy which is secure by default, proceed with caution",
		}
	}
	return resp, nil
}

// texts returns a text, or a list of them, as a list.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, v != ""
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			list = append(list, s)
		}
		return list, true
	default:
		return nil, false
	}
}

func (e *engine) deleteUIHeader(ctx context.Context, _ *engines.Request, p headerParams) (*engines.Response, error) {
	if err := e.Settings.setUIHeader(ctx, p.Header, nil); err != nil {
		return nil, err
	}
	return done()
}
