package sys

import (
	"context"
	"strings"

	"coffer/engines"
)

// Audit is the broker of the audit devices.
type Audit interface {
	// Devices returns the devices sorted by path.
	Devices() []AuditDevice
	// Enable stores and starts a device. Errors that are a client's fault are engines.ErrInvalid.
	Enable(ctx context.Context, device AuditDevice) error
	// Disable stops and forgets the device at path; one that does not exist is no error.
	Disable(ctx context.Context, path string) error
	// Hash returns the text that the device at path writes in place of a sensitive input, and false when
	// there is no such device.
	Hash(path, input string) (string, bool)
}

// AuditDevice is an audit device as clients see it.
type AuditDevice struct {
	// Path names it and ends in "/".
	Path        string
	Type        string
	Description string
	Options     map[string]string
	Local       bool
}

func (e *engine) auditRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("audit", "List the audit devices.", engines.Sudo(), engines.OnRead(e.listAudit)),
		engines.Path("audit/{path+}", "Enable or disable an audit device.", engines.IgnoreSlash("path"), engines.Sudo(),
			engines.OnUpdate(e.enableAudit), engines.OnDelete(e.disableAudit)),
		engines.Path("audit-hash/{path+}", "Hash a text as an audit device does.",
			engines.IgnoreSlash("path"), engines.OnUpdate(e.auditHash)),
	}
}

func (e *engine) listAudit(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	data := make(map[string]any)
	for _, device := range e.Audit.Devices() {
		options := device.Options
		if options == nil {
			options = map[string]string{}
		}
		data[device.Path] = map[string]any{
			"path": device.Path, "type": device.Type, "description": device.Description,
			"options": options, "local": device.Local,
		}
	}
	return flat(data)
}

type enableAuditParams struct {
	Path        string            `path:"path" help:"Name of the device."`
	Type        string            `param:"type" help:"\"file\"."`
	Description string            `param:"description" help:"Text for people."`
	Options     map[string]string `param:"options" help:"Settings of the device."`
	Local       bool              `param:"local" help:"Accepted for compatibility."`
}

func auditPath(name string) string { return strings.Trim(name, "/") + "/" }

func (e *engine) enableAudit(ctx context.Context, _ *engines.Request, p enableAuditParams) (*engines.Response, error) {
	path := auditPath(p.Path)
	for _, device := range e.Audit.Devices() {
		if strings.HasPrefix(path, device.Path) || strings.HasPrefix(device.Path, path) {
			return nil, engines.Invalid("path already in use: invalid configuration")
		}
	}
	err := e.Audit.Enable(ctx, AuditDevice{
		Path: path, Type: p.Type, Description: p.Description, Options: p.Options, Local: p.Local,
	})
	if err != nil {
		return nil, err
	}
	return done()
}

func (e *engine) disableAudit(ctx context.Context, _ *engines.Request, p pathParams) (*engines.Response, error) {
	if err := e.Audit.Disable(ctx, auditPath(p.Path)); err != nil {
		return nil, err
	}
	return done()
}

type auditHashParams struct {
	Path  string `path:"path" help:"Name of the device."`
	Input string `param:"input" help:"Text to hash."`
}

func (e *engine) auditHash(_ context.Context, _ *engines.Request, p auditHashParams) (*engines.Response, error) {
	if p.Input == "" {
		return nil, engines.Invalid(`the "input" parameter is empty`)
	}
	path := auditPath(p.Path)
	hash, ok := e.Audit.Hash(path, p.Input)
	if !ok {
		return nil, engines.Invalid("unknown audit backend %q", path)
	}
	return flat(map[string]any{"hash": hash})
}
