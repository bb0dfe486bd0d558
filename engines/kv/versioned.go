package kv

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// Keys of version 2. A secret's record is at entryPrefix and its name. Data of a version that is not in the
// record is at versionPrefix, the version's number and the name: so the folders are few and their
// encrypted names are found in the barrier's cache.
const (
	entryPrefix   = "entry/"
	versionPrefix = "version/"
)

const (
	// inlineLimit is the size in bytes up to which the latest version's data is kept in the record, so that
	// a read needs one Get. Larger data has its own key, so that metadata stays quick to read.
	inlineLimit = 16 << 10
	// historyLimit is how many bytes of older versions' data stay in the record: then the write of a small
	// secret changes one place on disk and not three. A read of the latest version decrypts them as well.
	historyLimit = 2 << 10
	// defaultVersions is how many versions are kept when neither metadata nor configuration says.
	defaultVersions = 10
	// maxVersions bounds how many are kept whatever they say, because they are removed in one commit and shown in one
	// answer.
	maxVersions = 1 << 15
)

// versioned is version 2: a history of values for each name.
type versioned struct {
	storage storage.Storage
	now     func() time.Time
	// locks guard the read-modify-write of a secret, by its name, and the pairs of Gets that read one.
	locks *keylock.Set
	// config is nil when it has to be read again. Its writers hold the lock of configKey.
	config atomic.Pointer[config]
	// upgrading is set while secrets of version 1 are left.
	upgrading atomic.Bool
}

func newVersioned(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	e := &versioned{storage: cfg.Storage, now: cfg.Now, locks: keylock.New()}
	if err := e.startUpgrade(ctx, cfg); err != nil {
		return nil, err
	}
	return e, nil
}

// Routes implements engines.Engine.
func (*versioned) Routes() *engines.Routes { return engines.RoutesOf[*versioned](versionedRoutes) }

func versionedRoutes() []engines.Route {
	routes := []engines.Route{
		engines.Path("data/{path...}", "Read, write, patch or delete the latest version of a secret.",
			engines.Exists(guard((*versioned).exists)), engines.OnRead(guard((*versioned).read)),
			engines.OnWrite(guard((*versioned).write)),
			engines.OnPatch(guard((*versioned).patch)), engines.OnDelete(guard((*versioned).deleteLatest)),
			engines.OnList(outside)),
		engines.Path("metadata/{path...}", "Configure, list and remove secrets and their history.",
			engines.IgnoreSlash("path"),
			engines.Exists(guard((*versioned).metadataExists)), engines.OnRead(guard((*versioned).readMetadata)),
			engines.OnList(guard((*versioned).listMetadata)), engines.OnWrite(guard((*versioned).writeMetadata)),
			engines.OnPatch(guard((*versioned).patchMetadata)), engines.OnDelete(guard((*versioned).deleteMetadata))),
		engines.Path("subkeys/{path...}", "Read the structure of a secret without its values.",
			engines.OnRead(guard((*versioned).subkeys))),
		engines.Path("delete/{path...}", "Delete versions of a secret; they can be undeleted.",
			engines.OnUpdate(guard((*versioned).deleteVersions))),
		engines.Path("undelete/{path...}", "Undelete versions of a secret.", engines.OnUpdate(guard((*versioned).undelete))),
		engines.Path("destroy/{path...}", "Remove the data of versions of a secret for ever.",
			engines.OnUpdate(guard((*versioned).destroy))),
		engines.Path("config", "Configure the mount.",
			engines.OnRead(guard((*versioned).readConfig)), engines.OnUpdate(guard((*versioned).writeConfig))),
	}
	for _, name := range []string{"data", "metadata", "delete", "undelete", "destroy"} {
		routes = append(routes, everywhere(name, bare))
	}
	return append(routes, everywhere("{path...}", outside))
}

func everywhere[P any](pattern string, f engines.HandlerFunc[P]) engines.Route {
	return engines.Path(pattern, "Not a path of this engine.", engines.AnyParameters(), engines.OnRead(f),
		engines.OnList(f), engines.OnUpdate(f), engines.OnPatch(f), engines.OnDelete(f))
}

// errUpgrading is what every request is told until the upgrade from version 1 is done.
var errUpgrading = &engines.Error{Kind: engines.ErrInvalid, Message: "Upgrading from non-versioned to versioned " +
	"data. This backend will be unavailable for a brief period and will resume service shortly."}

// guard keeps requests out while the mount is being upgraded.
func guard[P, R any](
	f func(*versioned, context.Context, *engines.Request, P) (R, error),
) func(context.Context, *engines.Request, P) (R, error) {
	return engines.Method(func(e *versioned, ctx context.Context, req *engines.Request, p P) (R, error) {
		if e.upgrading.Load() {
			var none R
			return none, errUpgrading
		}
		return f(e, ctx, req, p)
	})
}

type anyPath struct {
	Path string `path:"path"`
}

// outside answers paths that the API does not have: 404 with a hint.
func outside(_ context.Context, req *engines.Request, _ anyPath) (*engines.Response, error) {
	return outsideAPI(req), nil
}

func outsideAPI(req *engines.Request) *engines.Response {
	command := "put"
	switch req.Operation {
	case engines.Read:
		command = "get"
	case engines.List:
		command = "list"
	case engines.Patch:
		command = "patch"
	case engines.Delete:
		command = "delete"
	}
	return &engines.Response{Status: 404, Warnings: []string{
		"Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints " +
			"to use. If using the Vault CLI, use 'vault kv " + command + "' for this operation."}}
}

// bare answers "data" and its like without a name.
func bare(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return &engines.Response{Status: 404, Warnings: []string{
		"Non-listing operations on the root of a K/V v2 mount are not supported."}}, nil
}

// emptyNotFound is a 404 without a body: the answer to a PATCH of what is not there.
func emptyNotFound() *engines.Response {
	return &engines.Response{Status: 404, Raw: &engines.Raw{ContentType: "application/json"}}
}

func versionKey(name string, n uint64) string {
	return versionPrefix + strconv.FormatUint(n, 10) + "/" + name
}

// load reads a secret's record. It returns storage.ErrNotFound when there is none.
func (e *versioned) load(ctx context.Context, name string) (*entry, error) {
	key := entryPrefix + name
	raw, err := e.storage.Get(ctx, key)
	if errors.Is(err, storage.ErrInvalidKey) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	ent, err := decodeEntry(raw)
	if err != nil {
		return nil, unreadable(key, raw, formatPaged)
	}
	return ent, nil
}

// change is one commit of a secret in the making.
type change struct {
	storage storage.Storage
	name    string
	entry   *entry
	isNew   bool
	batch   []storage.Op
	// pages are those that were read, by their numbers.
	pages map[uint64]*page
	// first is the room of batch for what nearly all changes are.
	first [1]storage.Op
}

// modify loads a secret, lets f change it, and commits. With f's error, or when it reports that nothing
// changed, nothing is written. It returns storage.ErrNotFound when there is no such secret, unless create is
// set. f may be called more than once; see keylock.Write.
func (e *versioned) modify(
	ctx context.Context, name string, create bool, f func(context.Context, *change) (bool, error),
) error {
	_, err := keylock.Write(ctx, e.locks, name, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.modifyLocked(ctx, name, create, f)
	})
	return err
}

func (e *versioned) modifyLocked(
	ctx context.Context, name string, create bool, f func(context.Context, *change) (bool, error),
) error {
	ent, err := e.load(ctx, name)
	isNew := create && errors.Is(err, storage.ErrNotFound)
	if isNew {
		now := e.now()
		ent, err = &entry{Created: now, Updated: now}, nil
	}
	if err != nil {
		return err
	}
	c := &change{storage: e.storage, name: name, entry: ent, isNew: isNew}
	c.batch = c.first[:0]
	changed, err := f(ctx, c)
	if err != nil || !changed {
		return err
	}
	return refused(c.commit(ctx))
}

// commit writes the record, the pages that have changed, and what else is in the batch.
func (c *change) commit(ctx context.Context) error {
	for k, p := range c.pages {
		if p.changed {
			c.batch = append(c.batch, storage.Put(pageKey(c.name, k), p.encode()))
		}
	}
	c.batch = append(c.batch, storage.Put(entryPrefix+c.name, c.entry.encode()))
	return c.storage.Apply(ctx, c.batch...)
}

// data returns the JSON of a version that is neither deleted nor destroyed. The caller holds the lock of
// the secret, or the data is in the record.
func (e *versioned) data(ctx context.Context, name string, n uint64, v *version) ([]byte, error) {
	if v.Inline {
		return v.Data, nil
	}
	key := versionKey(name, n)
	raw, err := e.storage.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, damaged(key)
	}
	return raw, err
}

// gone reports whether a version's data is not shown any more.
func (v *version) gone(now time.Time) bool {
	return v.Destroyed || (!v.Deletion.IsZero() && !v.Deletion.After(now))
}

// addVersion makes data the latest version and removes those that are too many.
func (c *change) addVersion(ctx context.Context, data []byte, v version, keep int) error {
	ent := c.entry
	ent.Current++
	ent.Versions = append(ent.Versions, v)
	ent.Updated, ent.UpdatedBy = v.Created, v.CreatedBy
	if kept := uint64(keep); ent.count() > kept { //nolint:gosec // 1 to maxVersions
		ent.Oldest = ent.Current - kept + 1
		if err := c.removeBelow(ctx, ent.Oldest); err != nil {
			return err
		}
	}
	if latest := ent.version(ent.Current); len(data) <= inlineLimit {
		latest.Data, latest.Inline = data, true
	} else {
		c.batch = append(c.batch, storage.Put(versionKey(c.name, ent.Current), data))
	}
	c.moveHistory()
	c.seal()
	return nil
}

// moveHistory gives the data of older versions a key of its own where the record has no room for it, newer
// ones first. What has room goes into a page with its version.
func (c *change) moveHistory() {
	room := historyLimit
	for n := c.entry.Current - 1; n >= c.entry.recent(); n-- {
		v := c.entry.version(n)
		switch {
		case !v.Inline:
		case len(v.Data) <= room:
			room -= len(v.Data)
		default:
			c.batch = append(c.batch, storage.Put(versionKey(c.name, n), v.Data))
			v.Data, v.Inline = nil, false
		}
	}
}

// elsewhere reports whether the version's data has a key of its own.
func (v *version) elsewhere() bool { return !v.Inline && !v.Destroyed }

// removeData destroys the data of a version.
func (c *change) removeData(n uint64, v *version) {
	if v.Inline {
		v.Data, v.Inline = nil, false
		return
	}
	c.batch = append(c.batch, storage.Delete(versionKey(c.name, n)))
}

// attributionOf tells who makes the request. The operation is the one the request came in as.
func attributionOf(req *engines.Request, op operation) attribution {
	a := attribution{Operation: op}
	if c := req.Caller; c != nil {
		a.actor = actor{Name: c.DisplayName, EntityID: c.EntityID, ClientID: c.ClientID()}
	}
	return a
}
