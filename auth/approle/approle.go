// Package approle is the auth method at which machines log in with a role id, which names a role, and a secret
// id, which proves that they may be it. See DESIGN.md.
package approle

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

// engine is one mount. Locks are taken in the order of its fields.
type engine struct {
	storage storage.Storage
	log     *slog.Logger
	now     func() time.Time
	ttls    engines.TTLs
	// key makes the names under which ids are stored.
	key []byte

	// roles are held for reading while something is stored below a role, for writing while it changes.
	roles *keylock.Set
	// roleIDs is held while a role id is given away, so that it is unique.
	roleIDs sync.Mutex
	// sweeping is held by who removes expired secret ids, and for reading by who changes one.
	sweeping sync.RWMutex
	// secrets are held while a secret id is changed, by its name.
	secrets *keylock.Set

	// background runs what outlives its request.
	background func(func(context.Context))
	tidying    atomic.Bool
	// kick wakes the sweeper.
	kick chan struct{}
}

// Factory makes the method of a mount.
func Factory(ctx context.Context, cfg engines.Config) (engines.Engine, error) {
	e := &engine{
		storage: cfg.Storage, log: cfg.Logger, now: cfg.Now, ttls: cfg.TTLs,
		roles: keylock.New(), secrets: keylock.New(), background: cfg.Background, kick: make(chan struct{}, 1),
	}
	var err error
	if e.key, err = openKey(ctx, cfg.Storage); err != nil {
		return nil, err
	}
	e.background(e.sweepUntil)
	return e, nil
}

const (
	keyName = "key"
	keySize = 32
)

// openKey reads the mount's key, or makes it.
func openKey(ctx context.Context, s storage.Storage) ([]byte, error) {
	key, err := s.Get(ctx, keyName)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		key = make([]byte, keySize)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		return key, s.Apply(ctx, storage.Put(keyName, key))
	case err != nil:
		return nil, fmt.Errorf("approle: read the key: %w", err)
	case len(key) != keySize:
		return nil, errors.New("approle: the key is damaged")
	}
	return key, nil
}

// What a keyed hash is of, so that no id can stand for another kind.
const (
	ofRoleID   = "role id"
	ofSecretID = "secret id"
	ofAccessor = "accessor"
)

// name is the keyed hash under which an id is stored. owner is the role's folder, or "".
func (e *engine) name(kind, owner, id string) string {
	mac := hmac.New(sha256.New, e.key)
	for _, part := range [...]string{kind, owner, id} {
		fmt.Fprintf(mac, "%d:%s,", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// Routes implements engines.Engine.
func (*engine) Routes() *engines.Routes { return engines.RoutesOf[*engine](routes) }

func routes() []engines.Route {
	list := []engines.Route{
		engines.Path("login", "Log in with a role id and a secret id.", engines.Unauthenticated(),
			engines.LoginAs(loginParams.roleID), engines.OnUpdate(engines.Method((*engine).login))),
		engines.Path("role", "List the roles.", engines.OnList(engines.Method((*engine).listRoles))),
		engines.Path("role/{role_name}", "Read, write or delete a role.",
			engines.CaseInsensitive("role_name"), engines.Exists(engines.Method((*engine).roleExists)),
			engines.OnRead(engines.Method((*engine).readRole)), engines.OnWrite(engines.Method((*engine).writeRole)),
			engines.OnDelete(engines.Method((*engine).deleteRole))),
		engines.Path("role/{role_name}/role-id", "Read or change the role id.", engines.CaseInsensitive("role_name"),
			engines.OnRead(engines.Method((*engine).readRoleID)), engines.OnUpdate(engines.Method((*engine).writeRoleID))),
		engines.Path("role/{role_name}/local-secret-ids", "Whether secret ids stay in this cluster.",
			engines.CaseInsensitive("role_name"),
			engines.OnRead(readProperty(localSecretIDs))),
		engines.Path("role/{role_name}/secret-id", "Issue a secret id, or list the accessors of those there are.",
			engines.CaseInsensitive("role_name"),
			engines.OnList(engines.Method((*engine).listSecretIDs)), engines.OnUpdate(engines.Method((*engine).generate))),
		engines.Path("role/{role_name}/custom-secret-id", "Issue a secret id with a text of one's choice.",
			engines.CaseInsensitive("role_name"),
			engines.OnUpdate(engines.Method((*engine).generateCustom))),
		engines.Path("role/{role_name}/secret-id/lookup", "Read the properties of a secret id.",
			engines.CaseInsensitive("role_name"),
			engines.OnUpdate(engines.Method((*engine).lookup))),
		engines.Path("role/{role_name}/secret-id/destroy", "Destroy a secret id.", engines.CaseInsensitive("role_name"),
			engines.OnUpdate(engines.Method((*engine).destroy)), engines.OnDelete(engines.Method((*engine).destroy))),
		engines.Path("role/{role_name}/secret-id-accessor/lookup", "Read the properties of a secret id by its accessor.",
			engines.CaseInsensitive("role_name"),
			engines.OnUpdate(engines.Method((*engine).lookupAccessor))),
		engines.Path("role/{role_name}/secret-id-accessor/destroy", "Destroy a secret id by its accessor.",
			engines.CaseInsensitive("role_name"),
			engines.OnUpdate(engines.Method((*engine).destroyAccessor)),
			engines.OnDelete(engines.Method((*engine).destroyAccessor))),
		engines.Path("tidy/secret-id", "Remove expired secret ids from the storage.",
			engines.OnUpdate(engines.Method((*engine).tidy))),
	}
	return append(list, propertyRoutes()...)
}

// internal puts a text into the form in which Vault reports an error that it did not write for the client.
func internal(format string, args ...any) error {
	return engines.Failed("1 error occurred:\n\t* %s\n\n", fmt.Sprintf(format, args...))
}
