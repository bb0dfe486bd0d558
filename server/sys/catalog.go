package sys

import (
	"context"
	"slices"

	"coffer/engines"
	"coffer/server/mounts"
)

// The catalog lists the types that can be mounted. All are built in; nothing can be added.
func (e *engine) catalogRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("plugins/catalog", "List the types that can be mounted.", engines.OnRead(e.listCatalog)),
		engines.Path("plugins/catalog/{type}", "List the types of a kind that can be mounted.",
			engines.Sudo(), engines.OnList(e.listCatalogKind), engines.OnRead(e.readCatalogKind)),
		engines.Path("plugins/catalog/{type}/{name}", "Tell about a type that can be mounted.",
			engines.Sudo(), engines.OnRead(e.readCatalog), engines.OnUpdate(e.writeCatalog)),
		engines.Path("plugins/pins", "List the pinned plugin versions: there are none.", engines.OnRead(noPins)),
	}
}

// catalogKinds are the kinds of plugin in the order of the listing. Databases have no mounts of their own.
var catalogKinds = [...]struct {
	name string
	kind mounts.Kind
}{{"auth", mounts.Auth}, {"secret", mounts.Secret}, {"database", 0}}

// catalogTypes returns the names of a kind, or false when there is no such kind.
func (e *engine) catalogTypes(name string) ([]string, bool) {
	for _, k := range catalogKinds {
		if k.name == name {
			return slices.DeleteFunc(slices.Clone(e.Mounts.Types(k.kind)), unlisted), true
		}
	}
	return nil, false
}

// genericType is the older name of kv, version 1, which mounts keep. The catalog does not list it.
const genericType = "generic"

func unlisted(typ string) bool { return serverType(typ) || typ == genericType }

// pluginVersion is what Vault's own build reports as the version of a built-in type. Some are modules of their own
// there; oidc, which is the same module as jwt, goes by Vault's version.
func (e *engine) pluginVersion(typ string) string {
	switch typ {
	case "kv", "jwt":
		return "v0.25.0+builtin"
	case "kubernetes":
		return "v0.23.1+builtin"
	default:
		return "v" + e.Node.Version + "+builtin.vault"
	}
}

func (e *engine) listCatalog(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	data := make(map[string]any)
	detailed := []any{}
	for _, k := range catalogKinds {
		types, _ := e.catalogTypes(k.name)
		if len(types) > 0 {
			data[k.name] = types
		}
		for _, typ := range types {
			detailed = append(detailed, map[string]any{
				"name": typ, "type": k.name, "version": e.pluginVersion(typ), "builtin": true,
				"deprecation_status": "supported",
			})
		}
	}
	data["detailed"] = detailed
	return read(data)
}

type catalogKindParams struct {
	Type string `path:"type" help:"\"auth\", \"secret\" or \"database\"."`
}

func (e *engine) listCatalogKind(
	_ context.Context, _ *engines.Request, p catalogKindParams,
) (*engines.Response, error) {
	types, ok := e.catalogTypes(p.Type)
	if !ok {
		return nil, engines.ErrUnsupported
	}
	return engines.ListResponse(types)
}

// readCatalogKind serves the path of old clients, who did not name the kind.
func (e *engine) readCatalogKind(
	_ context.Context, _ *engines.Request, p catalogKindParams,
) (*engines.Response, error) {
	if _, ok := e.catalogTypes(p.Type); ok {
		return nil, engines.ErrUnsupported
	}
	return deprecatedCatalog(p.Type)
}

func deprecatedCatalog(name string) (*engines.Response, error) {
	return warn(`Deprecated API endpoint, cannot read plugin information from catalog for "` + name + `"`)
}

type catalogParams struct {
	Type    string `path:"type" help:"\"auth\", \"secret\" or \"database\"."`
	Name    string `path:"name" help:"Name of the type."`
	Version string `param:"version" help:"Version of the plugin; built-in ones have one."`
}

func (e *engine) readCatalog(_ context.Context, _ *engines.Request, p catalogParams) (*engines.Response, error) {
	types, ok := e.catalogTypes(p.Type)
	if !ok {
		return deprecatedCatalog(p.Type + "/" + p.Name)
	}
	version := e.pluginVersion(p.Name)
	if !slices.Contains(types, p.Name) || (p.Version != "" && p.Version != version) {
		return nil, engines.NotFound()
	}
	return read(map[string]any{
		"name": p.Name, "version": version, "builtin": true, "deprecation_status": "supported",
		"command": "", "args": nil, "sha256": "",
	})
}

type registerParams struct {
	Type string         `path:"type"`
	Name string         `path:"name"`
	All  map[string]any `param:"*"`
}

func (e *engine) writeCatalog(context.Context, *engines.Request, registerParams) (*engines.Response, error) {
	return nil, engines.Failed("%s", engines.Numbered("could not set plugin, plugin directory is not configured"))
}

func noPins(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{"pinned_versions": []string{}})
}
