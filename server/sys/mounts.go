package sys

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"coffer/engines"
	"coffer/server/mounts"
)

// Mounts is the mount table.
type Mounts interface {
	MountReader
	MountWriter
}

// MountReader looks into the mount table.
type MountReader interface {
	// Entries returns the mounts of a kind, sorted by path.
	Entries(kind mounts.Kind) []mounts.Entry
	// Find returns the mount at exactly this path, which ends in "/".
	Find(path string) (mounts.Entry, bool)
	// TTLs returns the limits in force at a mount, tuned or the server's own.
	TTLs(e mounts.Entry) (defaultTTL, maxTTL time.Duration)
	// Types returns the names of the types of a kind that can be mounted, sorted.
	Types(kind mounts.Kind) []string
}

// MountWriter changes the mount table. Errors that are a client's fault are engines.ErrInvalid.
type MountWriter interface {
	// Enable mounts e; the table fills in the UUID and the accessor.
	Enable(ctx context.Context, e mounts.Entry) error
	// Disable unmounts, revokes what was issued and deletes the storage; mounts.ErrNoMount.
	Disable(ctx context.Context, path string) error
	// Tune changes an entry through change, whose error it returns; mounts.ErrNoMount.
	Tune(ctx context.Context, path string, change func(*mounts.Entry) error) error
	// Remount moves a mount, and calls that move id; mounts.ErrNoMount. What the mount issued at its old path may be
	// revoked later.
	Remount(ctx context.Context, from, to, id string) error
	// Moving tells of a move that is not done; false for any other.
	Moving(id string) (from, to string, ok bool)
}

type pathParams struct {
	Path string `path:"path" help:"Path of the mount."`
}

func (e *engine) mountRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("mounts", "List the mounted secrets engines.", engines.OnRead(e.listMounts(mounts.Secret))),
		engines.Path("mounts/{path+}/tune", "Read or change the tuning of a mount.",
			engines.OnRead(e.readTuning(mounts.Secret)), engines.OnUpdate(e.tune(mounts.Secret))),
		engines.Path("mounts/{path+}", "Mount, read or unmount a secrets engine.", engines.IgnoreSlash("path"),
			engines.OnRead(e.readMount(mounts.Secret)), engines.OnUpdate(e.enableSecrets), engines.OnDelete(e.disableSecrets)),
	}
}

func (e *engine) authRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("auth", "List the enabled auth methods.", engines.OnRead(e.listMounts(mounts.Auth))),
		engines.Path("auth/{path+}/tune", "Read or change the tuning of an auth method.", engines.Sudo(),
			engines.OnRead(e.readTuning(mounts.Auth)), engines.OnUpdate(e.tune(mounts.Auth))),
		engines.Path("auth/{path+}", "Enable, read or disable an auth method.", engines.IgnoreSlash("path"), engines.Sudo(),
			engines.OnRead(e.readMount(mounts.Auth)), engines.OnUpdate(e.enableAuth), engines.OnDelete(e.disableAuth)),
	}
}

// mountPath is the path of a mount as the table knows it, from the name a client gave.
func mountPath(kind mounts.Kind, name string) string {
	path := strings.Trim(name, "/") + "/"
	if kind == mounts.Auth {
		path = mounts.AuthPrefix + path
	}
	return path
}

// reservedFolders are those below which nobody mounts a secrets engine. Nothing is at audit/, but in Vault's policies
// and logs it stands for the audit devices.
var reservedFolders = [...]string{"sys/", "cubbyhole/", "identity/", "audit/", mounts.AuthPrefix}

// tokenPath is the one auth method that is always there.
const tokenPath = "auth/token/" //nolint:gosec // a path, no credential

func reserved(path string) bool {
	for _, folder := range reservedFolders {
		if strings.HasPrefix(path, folder) {
			return true
		}
	}
	return false
}

// serverType reports whether a type is one of the server's own, which come without being mounted.
func serverType(typ string) bool {
	switch typ {
	case "system", "cubbyhole", "identity", "token", "ns_system", "ns_cubbyhole", "ns_identity", "ns_token":
		return true
	default:
		return false
	}
}

func (e *engine) listMounts(kind mounts.Kind) engines.HandlerFunc[engines.NoParams] {
	return func(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
		data := make(map[string]any)
		for _, entry := range e.Mounts.Entries(kind) {
			data[entry.Name()] = e.mountInfo(entry)
		}
		return flat(data)
	}
}

func (e *engine) readMount(kind mounts.Kind) engines.HandlerFunc[pathParams] {
	return func(ctx context.Context, r *engines.Request, p pathParams) (*engines.Response, error) {
		path := mountPath(kind, p.Path)
		entry, ok := e.Mounts.Find(path)
		if !ok && kind == mounts.Secret {
			var err error
			if entry, ok, err = e.above(ctx, r, kind, path, ""); err != nil {
				return nil, err
			}
		}
		switch {
		case ok:
			return flat(e.mountInfo(entry))
		case kind == mounts.Auth:
			return nil, engines.Invalid("No auth engine at %s", strings.TrimPrefix(path, mounts.AuthPrefix))
		default:
			return nil, engines.Invalid("No secret engine mount at %s", path)
		}
	}
}

// mountInfo is a mount as sys/mounts shows it: TTLs as tuned, 0 for the server's own.
func (e *engine) mountInfo(entry mounts.Entry) map[string]any {
	info := map[string]any{
		"type":                    entry.Type,
		"description":             entry.Description,
		"accessor":                entry.Accessor,
		"uuid":                    entry.UUID,
		"local":                   entry.Local,
		"seal_wrap":               entry.SealWrap,
		"external_entropy_access": entry.ExternalEntropy,
		"options":                 mountOptions(entry),
		"config":                  mountConfigInfo(entry, entry.Tuning.DefaultLeaseTTL, entry.Tuning.MaxLeaseTTL),
		"plugin_version":          "",
		"running_plugin_version":  e.pluginVersion(entry.Type),
		"running_sha256":          "",
	}
	if !serverType(entry.Type) && entry.Type != genericType {
		info["deprecation_status"] = "supported"
	}
	return info
}

// mountOptions are an object on mounts that somebody enabled and null on the server's own.
func mountOptions(entry mounts.Entry) any {
	if entry.Options == nil {
		return nil
	}
	options := make(map[string]string, len(entry.Options))
	maps.Copy(options, entry.Options)
	return options
}

func mountConfigInfo(entry mounts.Entry, defaultTTL, maxTTL time.Duration) map[string]any {
	info := map[string]any{
		"default_lease_ttl": engines.WholeSeconds(defaultTTL),
		"max_lease_ttl":     engines.WholeSeconds(maxTTL),
		"force_no_cache":    entry.Tuning.ForceNoCache,
	}
	t := &entry.Tuning
	addLists(info, t)
	if len(t.DelegatedAuthAccessors) > 0 {
		info["delegated_auth_accessors"] = t.DelegatedAuthAccessors
	}
	if t.ListingVisibility != "" {
		info["listing_visibility"] = t.ListingVisibility
	}
	if entry.Kind == mounts.Auth {
		info["token_type"] = tokenType(entry)
	}
	if len(t.UserLockout) > 0 {
		info["user_lockout_config"] = lockoutInfo(t.UserLockout)
	}
	return info
}

// addLists adds the lists that are set; those that are not are left out.
func addLists(info map[string]any, t *mounts.Tuning) {
	for name, list := range map[string][]string{
		"audit_non_hmac_request_keys":  t.AuditNonHMACRequestKeys,
		"audit_non_hmac_response_keys": t.AuditNonHMACResponseKeys,
		"passthrough_request_headers":  t.PassthroughRequestHeaders,
		"allowed_response_headers":     t.AllowedResponseHeaders,
		"allowed_managed_keys":         t.AllowedManagedKeys,
	} {
		if len(list) > 0 {
			info[name] = list
		}
	}
}

func tokenType(entry mounts.Entry) string {
	if entry.Tuning.TokenType == "" {
		return "default-service"
	}
	return entry.Tuning.TokenType
}

type enableParams struct {
	Path            string            `path:"path" help:"Path to mount at."`
	Type            string            `param:"type" help:"Type of the engine, for example \"kv\"."`
	Description     string            `param:"description" help:"Text for people."`
	Config          map[string]any    `param:"config" help:"Tuning of the mount."`
	All             map[string]any    `param:"*"`
	Options         map[string]string `param:"options" help:"Settings of the type, for example {\"version\": \"2\"}."`
	Local           bool              `param:"local" help:"Accepted for compatibility."`
	SealWrap        bool              `param:"seal_wrap" help:"Accepted for compatibility."`
	ExternalEntropy bool              `param:"external_entropy_access" help:"Accepted for compatibility."`
	PluginName      string            `param:"plugin_name" old:"type" help:"The type, for type \"plugin\"."`
	PluginVersion   string            `param:"plugin_version" help:"Accepted for compatibility."`
}

// mountConfig is the "config" of a mount that is being enabled.
type mountConfig struct {
	DefaultLeaseTTL           string         `param:"default_lease_ttl"`
	MaxLeaseTTL               string         `param:"max_lease_ttl"`
	ForceNoCache              bool           `param:"force_no_cache"`
	AuditNonHMACRequestKeys   []string       `param:"audit_non_hmac_request_keys"`
	AuditNonHMACResponseKeys  []string       `param:"audit_non_hmac_response_keys"`
	ListingVisibility         string         `param:"listing_visibility"`
	PassthroughRequestHeaders []string       `param:"passthrough_request_headers"`
	AllowedResponseHeaders    []string       `param:"allowed_response_headers"`
	TokenType                 string         `param:"token_type"`
	AllowedManagedKeys        []string       `param:"allowed_managed_keys"`
	DelegatedAuthAccessors    []string       `param:"delegated_auth_accessors"`
	UserLockout               map[string]any `param:"user_lockout_config"`
}

func (e *engine) enableSecrets(ctx context.Context, _ *engines.Request, p enableParams) (*engines.Response, error) {
	path := mountPath(mounts.Secret, p.Path)
	if reserved(path) {
		return nil, engines.Invalid("cannot mount %q", path)
	}
	if serverType(p.Type) {
		return nil, engines.Invalid("mount type of %q is not mountable", p.Type)
	}
	return e.enable(ctx, mounts.Secret, path, p)
}

func (e *engine) enableAuth(ctx context.Context, _ *engines.Request, p enableParams) (*engines.Response, error) {
	path := mountPath(mounts.Auth, p.Path)
	if path != tokenPath && serverType(p.Type) {
		return nil, engines.Invalid("token credential backend cannot be instantiated")
	}
	return e.enable(ctx, mounts.Auth, path, p)
}

func (e *engine) enable(ctx context.Context, kind mounts.Kind, path string, p enableParams) (*engines.Response, error) {
	if p.Type == "plugin" { // how Vault's older clients name a type
		if p.Type = p.PluginName; p.Type == "" {
			return nil, engines.Invalid("plugin_name must be provided for plugin backend")
		}
	}
	if p.Type == "" {
		return nil, engines.Invalid("backend type must be specified as a string")
	}
	if !utf8.ValidString(path) {
		return nil, engines.Invalid("the path is not UTF-8")
	}
	if kind == mounts.Secret && p.Options["version"] != "" && !versioned(p.Type) {
		return nil, engines.Invalid("secrets engine %q does not allow setting a version", p.Type)
	}
	tuning, err := e.newTuning(kind, p.Config)
	if err != nil {
		return nil, err
	}
	if taken, ok := e.conflict(path); ok {
		return nil, engines.Invalid("path is already in use at %s", taken.Name())
	}
	options := p.Options
	if sent, ok := p.All["options"]; options == nil && (!ok || sent != nil) {
		options = map[string]string{} // an explicit null stays one, as in Vault
	}
	err = e.Mounts.Enable(ctx, mounts.Entry{
		Kind: kind, Path: path, Type: p.Type, Description: p.Description, Options: options,
		Local: p.Local, SealWrap: p.SealWrap, ExternalEntropy: p.ExternalEntropy, Tuning: tuning,
	})
	if err != nil {
		return nil, err
	}
	return done()
}

// versioned reports whether mounts of a type have versions.
func versioned(typ string) bool { return typ == "kv" || typ == "kv-v1" || typ == "kv-v2" }

// newTuning checks the tuning of a new mount.
func (e *engine) newTuning(kind mounts.Kind, config map[string]any) (mounts.Tuning, error) {
	c, err := engines.Decode[mountConfig](config)
	if _, isText := c.UserLockout["lockout_threshold"].(string); isText {
		// Vault takes the number and ignores it: lockout is tuned after enabling.
		return mounts.Tuning{}, engines.Invalid("unable to convert given auth config information")
	}
	_, isBool := config["default_lease_ttl"].(bool)
	if _, maxIsBool := config["max_lease_ttl"].(bool); err != nil || isBool || maxIsBool {
		return mounts.Tuning{}, engines.Invalid("unable to convert given mount config information")
	}
	t := mounts.Tuning{
		ForceNoCache:            c.ForceNoCache,
		AuditNonHMACRequestKeys: c.AuditNonHMACRequestKeys, AuditNonHMACResponseKeys: c.AuditNonHMACResponseKeys,
		PassthroughRequestHeaders: c.PassthroughRequestHeaders, AllowedResponseHeaders: c.AllowedResponseHeaders,
		AllowedManagedKeys: c.AllowedManagedKeys, DelegatedAuthAccessors: c.DelegatedAuthAccessors,
		ListingVisibility: c.ListingVisibility,
	}
	if t.DefaultLeaseTTL, err = parseTTL(c.DefaultLeaseTTL); err != nil {
		return mounts.Tuning{}, engines.Invalid("unable to parse default TTL of %s: %v", c.DefaultLeaseTTL, err)
	}
	if t.MaxLeaseTTL, err = parseTTL(c.MaxLeaseTTL); err != nil {
		return mounts.Tuning{}, engines.Invalid("unable to parse max TTL of %s: %v", c.MaxLeaseTTL, err)
	}
	if t.MaxLeaseTTL > 0 && t.DefaultLeaseTTL > t.MaxLeaseTTL {
		return mounts.Tuning{}, engines.Invalid("given default lease TTL greater than given max lease TTL")
	}
	if _, serverMax := e.Mounts.TTLs(mounts.Entry{}); t.MaxLeaseTTL == 0 && t.DefaultLeaseTTL > serverMax {
		return mounts.Tuning{}, engines.Invalid(
			"given default lease TTL greater than system max lease TTL of %d", engines.WholeSeconds(serverMax))
	}
	if err := checkVisibility(c.ListingVisibility); err != nil {
		return mounts.Tuning{}, err
	}
	if kind == mounts.Auth {
		if err := checkTokenType(c.TokenType); err != nil {
			return mounts.Tuning{}, err
		}
		t.TokenType = c.TokenType
	}
	return t, nil
}

// errNegative is returned for a TTL below zero, which Vault keeps: leases then end before they begin, and logins fail.
var errNegative = errors.New("a TTL cannot be negative; 0 and \"system\" stand for the server's own")

// parseTTL reads a TTL of a tuning: seconds or a duration; "system", "" and 0 mean the server's own, 0.
func parseTTL(text string) (time.Duration, error) {
	if text == "" || text == "system" {
		return 0, nil
	}
	d, err := engines.ParseDuration(text)
	if err != nil {
		return 0, err
	}
	if d < 0 {
		return 0, errNegative
	}
	return d.Truncate(time.Second), nil
}

func checkVisibility(visibility string) error {
	switch visibility {
	case "", "hidden", "unauth":
		return nil
	default:
		return engines.Invalid("invalid listing_visibility %s", visibility)
	}
}

func checkTokenType(typ string) error {
	switch typ {
	case "", "default-service", "default-batch", "service", "batch":
		return nil
	default:
		return engines.Invalid("invalid value for 'token_type'")
	}
}

// conflict finds a mount that is, contains or lies below path.
func (e *engine) conflict(path string) (mounts.Entry, bool) {
	kind := mounts.Secret
	if strings.HasPrefix(path, mounts.AuthPrefix) {
		kind = mounts.Auth
	}
	for _, entry := range e.Mounts.Entries(kind) {
		if strings.HasPrefix(path, entry.Path) || strings.HasPrefix(entry.Path, path) {
			return entry, true
		}
	}
	return mounts.Entry{}, false
}

func (e *engine) disableSecrets(ctx context.Context, _ *engines.Request, p pathParams) (*engines.Response, error) {
	path := mountPath(mounts.Secret, p.Path)
	// An auth method is disabled below sys/auth/, which asks for sudo.
	if entry, ok := e.Mounts.Find(path); ok && (entry.Kind != mounts.Secret || serverType(entry.Type)) {
		return nil, engines.Invalid("cannot unmount %q", path)
	}
	return e.disable(ctx, path)
}

func (e *engine) disableAuth(ctx context.Context, _ *engines.Request, p pathParams) (*engines.Response, error) {
	path := mountPath(mounts.Auth, p.Path)
	if path == tokenPath {
		return nil, engines.Invalid("token credential backend cannot be disabled")
	}
	return e.disable(ctx, path)
}

// disable unmounts; what is not mounted needs no unmounting.
func (e *engine) disable(ctx context.Context, path string) (*engines.Response, error) {
	if err := e.Mounts.Disable(ctx, path); err != nil && !errors.Is(err, mounts.ErrNoMount) {
		return nil, err
	}
	return done()
}

// lockoutInfo is a stored user_lockout_config as it is shown.
func lockoutInfo(stored map[string]string) map[string]any {
	info := make(map[string]any, len(lockoutFields))
	for _, f := range lockoutFields {
		n, _ := strconv.ParseInt(stored[f.stored], 10, 64)
		info[f.shown] = n
	}
	info["user_lockout_disable"] = stored[lockoutDisable] == "true"
	return info
}

// lockoutFields are the numbers of a user_lockout_config: the name in a request, under which they are
// stored, and the name in answers.
var lockoutFields = [...]struct{ stored, shown string }{
	{lockoutThreshold, "user_lockout_threshold"},
	{lockoutDuration, "user_lockout_duration"},
	{lockoutCounterReset, "user_lockout_counter_reset_duration"},
}

const (
	lockoutThreshold    = mounts.LockoutThreshold
	lockoutDuration     = mounts.LockoutDuration
	lockoutCounterReset = mounts.LockoutCounterReset
	lockoutDisable      = mounts.LockoutDisable
)
