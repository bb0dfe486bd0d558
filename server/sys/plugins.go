package sys

import (
	"context"
	"net/http"
	"strings"

	"coffer/engines"
	"coffer/server/mounts"
)

// pluginRoutes are about plugins that run as processes of their own. coffer has none: its types are part of the binary,
// and a mount keeps no state that a reload would have to throw away.
func (e *engine) pluginRoutes() []engines.Route {
	routes := []engines.Route{
		engines.Path("plugins/reload/backend", "Reload the mounts of a type: nothing has to be done.",
			engines.OnUpdate(e.reloadBackend)),
		engines.Path("plugins/reload/backend/status", "Reloads are not followed.", engines.OnRead(enterpriseOnly)),
		engines.Path("plugins/runtimes/catalog", "List the runtimes of plugins in containers: there are none.",
			engines.OnRead(listRuntimes), engines.OnList(listRuntimes)),
		engines.Path("plugins/runtimes/catalog/container/{name}", "There are no runtimes of plugins.", engines.Sudo(),
			engines.OnRead(readRuntime), engines.OnUpdate(writeRuntime), engines.OnDelete(deleteRuntime)),
	}
	for kind, of := range map[string][]mounts.Kind{
		"secret": {mounts.Secret}, "auth": {mounts.Auth}, "database": nil, "unknown": {mounts.Secret, mounts.Auth},
	} {
		routes = append(routes, engines.Path("plugins/reload/"+kind+"/{name}",
			"Reload the mounts of a type: nothing has to be done.", engines.OnUpdate(e.reloadType(of))))
	}
	return routes
}

type reloadBackendParams struct {
	Plugin string   `param:"plugin" help:"Type whose mounts are reloaded."`
	Mounts []string `param:"mounts" help:"Paths of the mounts to reload, if plugin is not given."`
	Scope  string   `param:"scope" help:"\"global\" for all nodes, of which there is one."`
}

func (e *engine) reloadBackend(
	_ context.Context, r *engines.Request, p reloadBackendParams,
) (*engines.Response, error) {
	switch {
	case p.Plugin == "" && len(p.Mounts) == 0:
		return nil, engines.Invalid("plugin or mounts must be provided")
	case p.Plugin != "" && len(p.Mounts) > 0:
		return nil, engines.Invalid("plugin and mounts cannot be set at the same time")
	}
	if err := checkScope(p.Scope); err != nil {
		return nil, err
	}
	for _, name := range p.Mounts {
		path := strings.TrimSuffix(name, "/") + "/"
		if _, ok := e.mountServing(path); !ok {
			return nil, engines.Failed("%s", engines.Numbered(`cannot fetch mount entry on "`+path+`"`))
		}
	}
	found := p.Plugin == "" || e.mounted(p.Plugin, mounts.Secret, mounts.Auth)
	return reloaded(r, p.Scope, found)
}

type reloadTypeParams struct {
	Name  string `path:"name" help:"Type whose mounts are reloaded."`
	Scope string `param:"scope" help:"\"global\" for all nodes, of which there is one."`
}

func (e *engine) reloadType(kinds []mounts.Kind) engines.HandlerFunc[reloadTypeParams] {
	return func(_ context.Context, r *engines.Request, p reloadTypeParams) (*engines.Response, error) {
		if err := checkScope(p.Scope); err != nil {
			return nil, err
		}
		return reloaded(r, p.Scope, e.mounted(p.Name, kinds...))
	}
}

func checkScope(scope string) error {
	if scope != "" && scope != globalScope {
		return engines.Invalid("reload scope must be omitted or 'global'")
	}
	return nil
}

const globalScope = "global"

// mounted reports whether a mount of these kinds has the type.
func (e *engine) mounted(typ string, kinds ...mounts.Kind) bool {
	for _, kind := range kinds {
		for _, entry := range e.Mounts.Entries(kind) {
			if entry.Type == typ {
				return true
			}
		}
	}
	return false
}

// reloaded answers a reload in the words of Vault.
func reloaded(r *engines.Request, scope string, found bool) (*engines.Response, error) {
	resp := &engines.Response{Data: map[string]any{"reload_id": r.ID}}
	warning := "no plugins were reloaded"
	if scope == globalScope {
		resp.Status = http.StatusAccepted
		warning += " locally (but they may be reloaded on other nodes)"
	}
	if !found {
		resp.Warnings = []string{warning}
	}
	return resp, nil
}

type runtimesParams struct {
	Type string `param:"type" help:"\"container\", the only type."`
}

func listRuntimes(_ context.Context, _ *engines.Request, p runtimesParams) (*engines.Response, error) {
	if p.Type != "" && p.Type != "container" {
		return nil, engines.Invalid("%q is not a supported plugin runtime type", p.Type)
	}
	return read(map[string]any{"runtimes": []any{}})
}

type runtimeParams struct {
	Name string `path:"name" help:"Name of the runtime."`
}

func readRuntime(context.Context, *engines.Request, runtimeParams) (*engines.Response, error) {
	return nil, engines.NotFound()
}

func deleteRuntime(context.Context, *engines.Request, runtimeParams) (*engines.Response, error) {
	return nil, engines.Failed("%s", engines.Numbered("plugin runtime not found"))
}

type writeRuntimeParams struct {
	Name     string `path:"name" help:"Name of the runtime."`
	OCI      string `param:"oci_runtime" help:"Not used."`
	Parent   string `param:"cgroup_parent" help:"Not used."`
	CPU      int64  `param:"cpu_nanos" help:"Not used."`
	Memory   int64  `param:"memory_bytes" help:"Not used."`
	Rootless bool   `param:"rootless" help:"Not used."`
}

// writeRuntime refuses what would have no effect.
func writeRuntime(_ context.Context, _ *engines.Request, p writeRuntimeParams) (*engines.Response, error) {
	switch {
	case p.Memory < 0:
		return nil, engines.Invalid("runtime memory in bytes cannot be negative")
	case p.CPU < 0:
		return nil, engines.Invalid("runtime cpu in nanos cannot be negative")
	default:
		return nil, engines.Invalid("there are no plugins in containers, so no runtime can be registered")
	}
}
