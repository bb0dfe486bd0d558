package sys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/barrier"
	"coffer/engines"
	"coffer/policy"
	"coffer/server/leases"
	"coffer/server/monitor"
	"coffer/server/mounts"
	"coffer/server/passwords"
	"coffer/server/policies"
	"coffer/server/sys"
	"coffer/storage/memory"
)

var now = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// bench is a sys engine with everything it needs in memory.
type bench struct {
	t        *testing.T
	router   *engines.Router
	cfg      sys.Config
	base     *memory.Store
	mounts   *fakeMounts
	leases   *fakeLeases
	wrapping *fakeWrapping
	policies *policies.Store
	acls     *fakeACLs
}

func newBench(t *testing.T) *bench {
	t.Helper()
	base := memory.New()
	store, err := policies.New(t.Context(), base, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := sys.OpenSettings(t.Context(), base, sys.VersionRecord{Version: "1.21.2", BuildDate: "2026-05-01T00:00:00Z", Installed: now})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t: t, base: base, policies: store, mounts: newFakeMounts(), leases: &fakeLeases{},
		wrapping: &fakeWrapping{held: map[string]string{}},
	}
	b.acls = &fakeACLs{store: store, tokens: map[string][]string{"t-root": {"root"}, "t-default": {"default"}}}
	b.cfg = sys.Config{
		Mounts: b.mounts, Policies: store, Passwords: passwords.New(base), ACLs: b.acls, Leases: b.leases, Wrapping: b.wrapping,
		Keys:  &fakeKeys{config: barrier.DefaultRotationConfig(), info: barrier.KeyInfo{Term: 1, InstallTime: now, Encryptions: 7}},
		Audit: &fakeAudit{}, Settings: settings, InFlight: fakeInFlight{}, Raw: base,
		Node:     sys.Node{Version: "1.21.2", APIAddress: "http://127.0.0.1:8200", LogLevel: slog.LevelInfo},
		LogLevel: &slog.LevelVar{}, Now: func() time.Time { return now }, Wall: func() time.Time { return now },
		Session:  t.Context(),
		LogLines: monitor.New(nil),
	}
	b.open()
	return b
}

func (b *bench) open() {
	b.t.Helper()
	router, err := engines.NewRouter(sys.New(b.cfg))
	if err != nil {
		b.t.Fatal(err)
	}
	b.router = router
}

var verbs = map[string]engines.Operation{
	"GET": engines.Read, "LIST": engines.List, "POST": engines.Update, "DELETE": engines.Delete,
}

// request is one call: "POST path {json}", made with the root token unless the line begins with "@name "
// for the token "t-name" or "- " for none.
type request struct {
	op     engines.Operation
	path   string
	params map[string]any
	token  string
	wrap   time.Duration
}

func parse(t *testing.T, line string) request {
	t.Helper()
	r := request{token: "t-root"}
	if rest, ok := strings.CutPrefix(line, "- "); ok {
		r.token, line = "", rest
	}
	if rest, ok := strings.CutPrefix(line, "@"); ok {
		r.token, line, _ = strings.Cut(rest, " ")
		r.token = "t-" + r.token
	}
	verb, line, _ := strings.Cut(line, " ")
	r.op = verbs[verb]
	path, body, _ := strings.Cut(line, " ")
	r.path = path
	if r.op == engines.List && !strings.HasSuffix(path, "/") {
		r.path += "/"
	}
	if body != "" {
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&r.params); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return r
}

func (b *bench) do(line string) (*engines.Response, error) {
	b.t.Helper()
	return b.send(parse(b.t, line))
}

func (b *bench) send(r request) (*engines.Response, error) {
	b.t.Helper()
	req := &engines.Request{
		Operation: r.op, Path: r.path, Params: r.params, WrapTTL: r.wrap,
		Mount: &engines.Mount{Path: "sys/", Type: "system"},
	}
	if r.token != "" {
		req.Token = engines.NewToken(r.token)
		if names, ok := b.acls.tokens[r.token]; ok {
			req.Caller = &engines.Caller{Token: req.Token, Policies: names}
		}
	}
	m, ok := b.router.Match(b.t.Context(), r.op, r.path)
	if !ok {
		return nil, engines.ErrUnsupportedPath
	}
	if req.Caller == nil && !m.Unauthenticated() {
		return nil, engines.Denied("permission denied")
	}
	return m.Call(b.t.Context(), req)
}

// answer is an answer as text: "204", or the parts that are there in JSON, keys sorted.
func answer(resp *engines.Response, err error) string {
	if err != nil {
		kind := "500"
		for k, status := range map[error]string{
			engines.ErrInvalid: "400", engines.ErrDenied: "403", engines.ErrNotFound: "404",
			engines.ErrUnsupportedPath: "404 path", engines.ErrUnsupported: "405",
		} {
			if errors.Is(err, k) {
				kind = status
			}
		}
		var public *engines.Error
		if errors.As(err, &public) && public.Message != "" {
			return kind + " " + public.Message
		}
		return kind
	}
	var parts []string
	if resp.Raw != nil {
		parts = append(parts, strings.TrimSpace(string(resp.Raw.Body)))
	}
	if resp.Data != nil {
		parts = append(parts, encode(resp.Data))
	}
	if resp.Secret != nil {
		parts = append(parts, "lease "+resp.Secret.LeaseID+" "+resp.Secret.TTL.String())
	}
	if resp.Wrap != nil {
		parts = append(parts, "wrapped "+resp.Wrap.Token.Reveal())
	}
	if resp.Status != 0 {
		parts = append(parts, "status "+encode(resp.Status))
	}
	for _, w := range resp.Warnings {
		parts = append(parts, "warning: "+w)
	}
	if len(parts) == 0 {
		return "204"
	}
	if resp.Flatten {
		parts = append(parts, "flat")
	}
	return strings.Join(parts, " | ")
}

func encode(v any) string {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(buf.String())
}

// step is one line of a script and what it must answer.
type step struct{ line, want string }

func (b *bench) run(steps []step) {
	b.t.Helper()
	for _, s := range steps {
		if got := answer(b.do(s.line)); got != s.want {
			b.t.Errorf("%s\n got %s\nwant %s", s.line, got, s.want)
		}
	}
}

// fakeMounts is a mount table without engines.
type fakeMounts struct{ entries map[string]mounts.Entry }

func newFakeMounts() *fakeMounts {
	f := &fakeMounts{entries: map[string]mounts.Entry{}}
	for _, e := range []mounts.Entry{
		{Kind: mounts.Secret, Path: "sys/", Type: "system", UUID: "u-sys", SealWrap: true},
		{Kind: mounts.Secret, Path: "cubbyhole/", Type: "cubbyhole", UUID: "u-cubby", Local: true},
		{Kind: mounts.Auth, Path: "auth/token/", Type: "token", UUID: "u-token"},
	} {
		f.entries[e.Path] = e
	}
	return f
}

func (f *fakeMounts) Entries(kind mounts.Kind) []mounts.Entry {
	var list []mounts.Entry
	for _, path := range slices.Sorted(maps.Keys(f.entries)) {
		if f.entries[path].Kind == kind {
			list = append(list, f.entries[path])
		}
	}
	return list
}

func (f *fakeMounts) Find(path string) (mounts.Entry, bool) { e, ok := f.entries[path]; return e, ok }

func (f *fakeMounts) TTLs(e mounts.Entry) (def, maxTTL time.Duration) {
	def, maxTTL = 768*time.Hour, 768*time.Hour
	if e.Tuning.DefaultLeaseTTL > 0 {
		def = e.Tuning.DefaultLeaseTTL
	}
	if e.Tuning.MaxLeaseTTL > 0 {
		maxTTL = e.Tuning.MaxLeaseTTL
	}
	return def, maxTTL
}

func (f *fakeMounts) Types(kind mounts.Kind) []string {
	return map[mounts.Kind][]string{mounts.Secret: {"cubbyhole", "kv"}, mounts.Auth: {"token", "userpass"}}[kind]
}

func (f *fakeMounts) Enable(_ context.Context, e mounts.Entry) error {
	if !slices.Contains(f.Types(e.Kind), e.Type) {
		return engines.Invalid("plugin not found in the catalog: %s", e.Type)
	}
	e.UUID, e.Accessor = "u-"+e.Path, "a-"+e.Path
	f.entries[e.Path] = e
	return nil
}

func (f *fakeMounts) Disable(_ context.Context, path string) error {
	if _, ok := f.entries[path]; !ok {
		return mounts.ErrNoMount
	}
	delete(f.entries, path)
	return nil
}

func (f *fakeMounts) Tune(_ context.Context, path string, change func(*mounts.Entry) error) error {
	e, ok := f.entries[path]
	if !ok {
		return mounts.ErrNoMount
	}
	e = e.Clone()
	if err := change(&e); err != nil {
		return err
	}
	f.entries[path] = e
	return nil
}

func (f *fakeMounts) Moving(id string) (from, to string, ok bool) {
	return "a/", "c/", id == "under-way"
}

func (f *fakeMounts) Remount(_ context.Context, from, to, _ string) error {
	e, ok := f.entries[from]
	if !ok {
		return mounts.ErrNoMount
	}
	delete(f.entries, from)
	e.Path = to
	f.entries[to] = e
	return nil
}

type fakeACLs struct {
	store  *policies.Store
	tokens map[string][]string
}

func (f *fakeACLs) OfCaller(ctx context.Context, caller *engines.Caller) (*policy.ACL, error) {
	return f.store.ACL(ctx, caller.Policies)
}

func (f *fakeACLs) OfToken(ctx context.Context, token engines.Token) (*policy.ACL, error) {
	names, ok := f.tokens[token.Reveal()]
	if !ok {
		return nil, sys.ErrNoToken
	}
	return f.store.ACL(ctx, names)
}

func (f *fakeACLs) Use(context.Context, *engines.Caller) (end func(), err error) {
	return func() {}, nil
}

func (f *fakeACLs) Canonical(_ context.Context, path string) (string, policy.Spellings, error) {
	return path, policy.Spellings{}, nil
}

func (f *fakeACLs) OfAccessor(ctx context.Context, accessor string) (*policy.ACL, error) {
	return f.OfToken(ctx, engines.NewToken("t-"+accessor))
}

// fakeLeases holds one lease of a secret, "db/creds/app/l1", and one of a token.
type fakeLeases struct{ calls []string }

func (f *fakeLeases) Lookup(_ context.Context, id string) (leases.Lease, error) {
	if id != "db/creds/app/l1" {
		return leases.Lease{}, leases.ErrNotFound
	}
	return leases.Lease{ID: id, Issued: now.Add(-time.Minute), Expires: now.Add(time.Hour), Renewable: true}, nil
}

func (f *fakeLeases) List(_ context.Context, prefix string) ([]string, error) {
	return map[string][]string{"": {"auth/", "db/"}, "db/creds/app/": {"l1"}}[prefix], nil
}

func (f *fakeLeases) Renew(ctx context.Context, id string, increment time.Duration) (leases.Lease, []string, error) {
	if strings.HasPrefix(id, "auth/") {
		return leases.Lease{}, nil, leases.ErrToken
	}
	l, err := f.Lookup(ctx, id)
	if err == nil && increment > 0 {
		l.Expires = now.Add(increment)
	}
	return l, nil, err
}

func (f *fakeLeases) Irrevocable(context.Context, int) ([]leases.Lease, int, error) {
	return []leases.Lease{{ID: "db/creds/app/stuck", Failure: "refused"}}, 1, nil
}

func (f *fakeLeases) note(call string) error { f.calls = append(f.calls, call); return nil }

func (f *fakeLeases) Revoke(_ context.Context, id string) error { return f.note("revoke " + id) }

func (f *fakeLeases) RevokeLater(_ context.Context, ids ...string) error {
	return f.note("later " + strings.Join(ids, " "))
}

func (f *fakeLeases) RevokePrefix(_ context.Context, p string) error { return f.note("prefix " + p) }

func (f *fakeLeases) RevokePrefixLater(_ context.Context, p string) error {
	return f.note("prefix later " + p)
}

func (f *fakeLeases) RevokeForce(_ context.Context, p string) error { return f.note("force " + p) }

func (f *fakeLeases) Tidy(context.Context) bool { return f.note("tidy") == nil }

var errNotWrapping = engines.Invalid("wrapping token is not valid or does not exist")

// fakeWrapping holds texts under single-use tokens.
type fakeWrapping struct{ held map[string]string }

func (f *fakeWrapping) Lookup(_ context.Context, token engines.Token) (*engines.WrapInfo, error) {
	if _, ok := f.held[token.Reveal()]; !ok {
		return nil, errNotWrapping
	}
	return &engines.WrapInfo{Token: token, TTL: time.Minute, CreationTime: now, CreationPath: "sys/wrapping/wrap"}, nil
}

func (f *fakeWrapping) Unwrap(_ context.Context, token engines.Token) ([]byte, error) {
	text, ok := f.held[token.Reveal()]
	if !ok {
		return nil, errNotWrapping
	}
	delete(f.held, token.Reveal())
	return []byte(text), nil
}

func (f *fakeWrapping) Rewrap(ctx context.Context, token engines.Token) (*engines.WrapInfo, error) {
	text, err := f.Unwrap(ctx, token)
	if err != nil {
		return nil, err
	}
	fresh := engines.NewToken(token.Reveal() + "-again")
	f.held[fresh.Reveal()] = string(text)
	return f.Lookup(ctx, fresh)
}

type fakeKeys struct {
	config barrier.RotationConfig
	info   barrier.KeyInfo
}

func (f *fakeKeys) KeyInfo() (barrier.KeyInfo, error)               { return f.info, nil }
func (f *fakeKeys) RotationConfig() (barrier.RotationConfig, error) { return f.config, nil }

func (f *fakeKeys) Rotate(context.Context) (barrier.KeyInfo, error) {
	f.info.Term++
	f.info.Encryptions = 0
	return f.info, nil
}

func (f *fakeKeys) SetRotationConfig(_ context.Context, c barrier.RotationConfig) error {
	f.config = c
	return c.Validate()
}

type fakeAudit struct{ devices []sys.AuditDevice }

func (f *fakeAudit) Devices() []sys.AuditDevice { return f.devices }

func (f *fakeAudit) Enable(_ context.Context, d sys.AuditDevice) error {
	if d.Type != "file" {
		return engines.Invalid("unknown backend type: %q: invalid configuration", d.Type)
	}
	f.devices = append(f.devices, d)
	return nil
}

func (f *fakeAudit) Disable(_ context.Context, path string) error {
	f.devices = slices.DeleteFunc(f.devices, func(d sys.AuditDevice) bool { return d.Path == path })
	return nil
}

func (f *fakeAudit) Hash(path, input string) (string, bool) {
	ok := slices.ContainsFunc(f.devices, func(d sys.AuditDevice) bool { return d.Path == path })
	return "hmac-sha256:of-" + input, ok
}

type fakeInFlight struct{}

func (fakeInFlight) Requests(context.Context) (map[string]sys.InFlightRequest, error) {
	return map[string]sys.InFlightRequest{"r1": {StartTime: now, ClientRemoteAddress: "127.0.0.1:1", RequestPath: "/v1/sys/in-flight-req", RequestMethod: "GET"}}, nil
}
