package identity

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"coffer/engines"
	"coffer/storage"
)

// engine serves identity/.
type engine struct {
	*Store
	more []engines.Route
}

// Engine returns the engine that serves the store at identity/, with further routes below it.
func (s *Store) Engine(more ...engines.Route) engines.Engine { return &engine{Store: s, more: more} }

// Routes implements engines.Engine.
func (b *engine) Routes() *engines.Routes {
	return engines.Compile(slices.Concat(b.entityRoutes(), b.aliasRoutes(), b.groupRoutes(), b.more)...)
}

func (b *engine) entityRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("entity", "Make or change an entity.", engines.OnUpdate(b.writeEntity)),
		engines.Path("entity/name", "List the names of the entities.", engines.OnList(b.listEntityNames)),
		engines.Path("entity/name/{name+}", "Read, write or delete an entity by its name.",
			engines.CaseInsensitive("name"), engines.KeepSpelling("name"),
			engines.OnRead(b.readEntityByName), engines.OnUpdate(b.writeEntityByName), engines.OnDelete(b.deleteEntityByName)),
		engines.Path("entity/id", "List the ids of the entities.", engines.OnList(b.listEntityIDs)),
		engines.Path("entity/id/{id}", "Read, write or delete an entity by its id.",
			engines.OnRead(b.readEntityByID), engines.OnUpdate(b.writeEntityByID), engines.OnDelete(b.deleteEntityByID)),
		engines.Path("entity/batch-delete", "Delete entities by their ids.", engines.OnUpdate(b.deleteEntities)),
		engines.Path("entity/merge", "Merge entities into one.", engines.OnUpdate(b.mergeEntities)),
		engines.Path("lookup/entity", "Find an entity by id, name or alias.", engines.OnUpdate(b.lookupEntity)),
		engines.Path("lookup/group", "Find a group by id, name or alias.", engines.OnUpdate(b.lookupGroup)),
	}
}

// aliasRoutes are those of the aliases of entities, under their name and the two that they had before. As in Vault,
// what is written below the oldest is an entity.
func (b *engine) aliasRoutes() []engines.Route {
	routes := []engines.Route{
		engines.Path("persona", "Older name of entity.", engines.OnUpdate(b.writePersona)),
		engines.Path("persona/id", "List the ids of the aliases.", engines.OnList(b.listAliases)),
		engines.Path("persona/id/{id}", "Read or delete an alias; write an entity.",
			engines.OnRead(b.readAlias), engines.OnUpdate(b.writeEntityByID), engines.OnDelete(b.deleteAlias)),
	}
	for _, name := range []string{"entity-alias", "alias"} {
		routes = append(routes,
			engines.Path(name, "Make or change an alias of an entity.", engines.OnUpdate(b.writeAlias)),
			engines.Path(name+"/id", "List the ids of the aliases.", engines.OnList(b.listAliases)),
			engines.Path(name+"/id/{id}", "Read, write or delete an alias.",
				engines.OnRead(b.readAlias), engines.OnUpdate(b.writeAliasByID), engines.OnDelete(b.deleteAlias)))
	}
	return routes
}

func (b *engine) groupRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("group", "Make or change a group.", engines.OnUpdate(b.writeGroup)),
		engines.Path("group/name", "List the names of the groups.", engines.OnList(b.listGroupNames)),
		engines.Path("group/name/{name+}", "Read, write or delete a group by its name.",
			engines.CaseInsensitive("name"), engines.KeepSpelling("name"),
			engines.OnRead(b.readGroupByName), engines.OnUpdate(b.writeGroupByName), engines.OnDelete(b.deleteGroupByName)),
		engines.Path("group/id", "List the ids of the groups.", engines.OnList(b.listGroupIDs)),
		engines.Path("group/id/{id}", "Read, write or delete a group by its id.",
			engines.OnRead(b.readGroupByID), engines.OnUpdate(b.writeGroupByID), engines.OnDelete(b.deleteGroupByID)),
		engines.Path("group-alias", "Make or change the alias of an external group.", engines.OnUpdate(b.writeGroupAlias)),
		engines.Path("group-alias/id", "List the ids of the group aliases.", engines.OnList(b.listGroupAliases)),
		engines.Path("group-alias/id/{id}", "Read, write or delete a group alias.",
			engines.OnRead(b.readGroupAlias), engines.OnUpdate(b.writeGroupAliasByID), engines.OnDelete(b.deleteGroupAlias)),
	}
}

// perListed is about how many bytes an entity, alias or group takes in a list that tells of it.
const perListed = 512

// spend waits until there is room for a list of all that is there.
func (b *engine) spend(ctx context.Context) error {
	count := 0
	if err := b.view(ctx, func(x *index) { count = len(x.entities) + len(x.groups) }); err != nil {
		return err
	}
	return storage.Spend(ctx, perListed*count)
}

var errRootPolicy = engines.Invalid("policies cannot contain root")

// genericName is what an id in a path may look like; anything else is no such path.
var genericName = regexp.MustCompile(`^\w(([\w.-]+)?\w)?$`)

func checkID(id string) error {
	if !genericName.MatchString(id) {
		return engines.ErrUnsupportedPath
	}
	return nil
}

type idParams struct {
	ID string `path:"id" help:"The id."`
}

type nameParams struct {
	Name string `path:"name" help:"The name."`
}

// Bounds of metadata and names.
const (
	maxPairs = 64
	maxKey   = 128
	maxValue = 512
	maxName  = 4 << 10
)

func checkName(name string) error {
	if len(name) > maxName {
		return engines.Invalid("name is longer than %d bytes", maxName)
	}
	if !utf8.ValidString(name) {
		return engines.Invalid("name is not UTF-8")
	}
	return nil
}

// notInKey reports whether a key of metadata cannot have the character.
func notInKey(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("=/+_-", c)
}

// checkMetadata refuses metadata beyond the bounds, in the words of Vault.
func checkMetadata(what string, metadata map[string]string) error {
	if len(metadata) > maxPairs {
		return engines.Failed("%s", engines.Numbered(fmt.Sprintf(
			"invalid %s metadata: metadata can contain at most %d key/value pairs", what, maxPairs)))
	}
	for key, value := range metadata {
		var why string
		switch {
		case key == "":
			why = "key cannot be blank"
		case len(key) > maxKey:
			why = fmt.Sprintf("key is too long (limit: %d characters)", maxKey)
		case strings.IndexFunc(key, notInKey) >= 0:
			why = "key contains invalid characters"
		case len(value) > maxValue:
			why = fmt.Sprintf("value is too long (limit: %d characters)", maxValue)
		default:
			continue
		}
		return engines.Failed("%s", engines.Numbered(fmt.Sprintf(
			"invalid %s metadata: failed to load metadata pair (%q, %q): %s", what, key, value, why)))
	}
	return nil
}
