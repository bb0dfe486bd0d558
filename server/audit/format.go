package audit

import (
	"bytes"
	"encoding/json"
	"time"

	"coffer/engines"
	"coffer/server/mounts"
)

// The types below are Vault's audit entries (developer.hashicorp.com/vault/docs/audit). Fields stand in
// the order of their names, as Vault writes them.

type entryJSON struct {
	Auth     *authJSON     `json:"auth,omitempty"`
	Error    string        `json:"error,omitempty"`
	Request  requestJSON   `json:"request"`
	Response *responseJSON `json:"response,omitempty"`
	Time     time.Time     `json:"time"`
	Type     string        `json:"type"`
}

type authJSON struct {
	Accessor      string      `json:"accessor,omitempty"`
	ClientToken   string      `json:"client_token,omitempty"`
	DisplayName   string      `json:"display_name,omitempty"`
	EntityID      string      `json:"entity_id,omitempty"`
	IdentityPols  []string    `json:"identity_policies,omitempty"`
	Metadata      any         `json:"metadata,omitempty"`
	NumUses       int         `json:"num_uses,omitempty"`
	Policies      []string    `json:"policies,omitempty"`
	PolicyResults *policyJSON `json:"policy_results,omitempty"`
	TokenPolicies []string    `json:"token_policies,omitempty"`
	TokenTTL      int64       `json:"token_ttl,omitempty"`
	TokenType     string      `json:"token_type,omitempty"`
}

// policyJSON has one field that Vault does not know: why the policies refused.
type policyJSON struct {
	Allowed  bool              `json:"allowed"`
	Granting []grantPolicyJSON `json:"granting_policies,omitempty"`
	Reason   string            `json:"reason,omitempty"`
}

type grantPolicyJSON struct {
	Name        string `json:"name"`
	NamespaceID string `json:"namespace_id"`
	Type        string `json:"type"`
}

type requestJSON struct {
	ClientID            string              `json:"client_id,omitempty"`
	ClientToken         string              `json:"client_token,omitempty"`
	ClientTokenAccessor string              `json:"client_token_accessor,omitempty"`
	Data                any                 `json:"data,omitempty"`
	Headers             map[string][]string `json:"headers,omitempty"`
	ID                  string              `json:"id,omitempty"`
	mountJSON
	Namespace     namespaceJSON `json:"namespace"`
	Operation     string        `json:"operation,omitempty"`
	Path          string        `json:"path,omitempty"`
	RemoteAddress string        `json:"remote_address,omitempty"`
	RemotePort    int           `json:"remote_port,omitempty"`
	WrapTTL       int64         `json:"wrap_ttl,omitempty"`
}

type mountJSON struct {
	Accessor string `json:"mount_accessor,omitempty"`
	Class    string `json:"mount_class,omitempty"`
	Point    string `json:"mount_point,omitempty"`
	Type     string `json:"mount_type,omitempty"`
}

type namespaceJSON struct {
	ID string `json:"id"`
}

type responseJSON struct {
	Auth *authJSON `json:"auth,omitempty"`
	Data any       `json:"data,omitempty"`
	mountJSON
	Secret   *secretJSON `json:"secret,omitempty"`
	Warnings []string    `json:"warnings,omitempty"`
	WrapInfo *wrapJSON   `json:"wrap_info,omitempty"`
}

type secretJSON struct {
	LeaseID string `json:"lease_id,omitempty"`
}

type wrapJSON struct {
	Accessor        string    `json:"accessor,omitempty"`
	CreationPath    string    `json:"creation_path,omitempty"`
	CreationTime    time.Time `json:"creation_time"`
	Token           string    `json:"token,omitempty"`
	TTL             int64     `json:"ttl,omitempty"`
	WrappedAccessor string    `json:"wrapped_accessor,omitempty"`
}

// format writes an entry as the device shows it: one line.
func (d *device) format(kind string, e *Entry, headers map[string]bool) ([]byte, error) {
	f := formatter{device: d, entry: e, redactor: redactor{hasher: d.hasher, raw: d.opts.raw}}
	f.room = roomOfCallers
	if e.Request.Caller == nil && !f.raw {
		f.room = roomOfStrangers
	}
	line := entryJSON{Time: e.Time.UTC(), Type: kind, Auth: f.caller(), Request: f.request(headers)}
	if e.Error != nil {
		line.Error = f.brief(e.Error.Error())
	}
	if kind == "response" {
		line.Response = f.response()
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b) // ends the line
	if err := encoder.Encode(&line); err != nil {
		return nil, err
	}
	text := disarm(b.Bytes())
	if d.opts.prefix != "" {
		text = append([]byte(d.opts.prefix), text...)
	}
	return text, nil
}

// disarm escapes what a shell would expand inside double quotes. An operator may put a log anywhere, also
// where it is read as a script, and entries show texts of clients.
func disarm(line []byte) []byte {
	if !bytes.ContainsAny(line, "$`") {
		return line
	}
	line = bytes.ReplaceAll(line, []byte("$"), []byte(`\u0024`))
	return bytes.ReplaceAll(line, []byte("`"), []byte(`\u0060`))
}

// formatter makes the parts of one line.
type formatter struct {
	redactor
	device *device
	entry  *Entry
}

func (f *formatter) accessor(accessor string) string {
	if accessor == "" || !f.device.opts.hmacAccessor {
		return accessor
	}
	return f.shown(accessor, false)
}

func (f *formatter) token(t engines.Token) string {
	if t.IsZero() {
		return ""
	}
	return f.shown(t.Reveal(), false)
}

// caller is nil when the token is missing or worthless and the request was refused for it.
func (f *formatter) caller() *authJSON {
	c := f.entry.Request.Caller
	if c == nil {
		if f.entry.Error != nil {
			return nil
		}
		return &authJSON{TokenType: "default"}
	}
	a := &authJSON{
		Accessor: f.accessor(c.Accessor), ClientToken: f.token(c.Token), DisplayName: f.brief(c.DisplayName),
		EntityID: c.EntityID, Metadata: f.metadata(c.Metadata), TokenType: "service", PolicyResults: f.decision(),
	}
	a.Policies = f.names(c.Policies)
	a.TokenPolicies = a.Policies
	if added := f.entry.IdentityPolicies; len(added) > 0 {
		a.IdentityPols = f.union(added, nil)
		a.Policies = f.union(c.Policies, added)
	}
	if c.Batch {
		a.TokenType = "batch"
	}
	return a
}

func (f *formatter) decision() *policyJSON {
	d := f.entry.Decision
	if d == nil {
		return nil
	}
	p := &policyJSON{Allowed: d.Allowed, Reason: f.brief(d.Reason)}
	for _, name := range f.names(d.Policies) {
		p.Granting = append(p.Granting, grantPolicyJSON{Name: name, NamespaceID: "root", Type: "acl"})
	}
	return p
}

func (f *formatter) request(headers map[string]bool) requestJSON {
	e, r := f.entry, f.entry.Request
	if e.Mount != nil {
		f.plain = e.Mount.Tuning.AuditNonHMACRequestKeys
	}
	j := requestJSON{
		ClientToken: f.token(e.Token), Data: f.bounded(r.Params), Headers: f.headerValues(r.Client.Header, headers),
		ID: r.ID, mountJSON: f.mount(), Namespace: namespaceJSON{ID: "root"}, Operation: r.Operation.String(),
		Path: f.brief(e.Path), RemotePort: r.Client.Port, WrapTTL: int64(r.WrapTTL / time.Second),
	}
	if r.Client.Addr.IsValid() {
		j.RemoteAddress = r.Client.Addr.String()
	}
	if r.Caller != nil {
		j.ClientID, j.ClientTokenAccessor = r.Caller.EntityID, f.accessor(r.Caller.Accessor)
	}
	return j
}

func (f *formatter) mount() mountJSON {
	m := f.entry.Mount
	if m == nil {
		return mountJSON{}
	}
	class := "secret"
	if m.Kind == mounts.Auth {
		class = "auth"
	}
	return mountJSON{Accessor: m.Accessor, Class: class, Point: m.Path, Type: m.Type}
}

// response is nil for an answer without content.
func (f *formatter) response() *responseJSON {
	e := f.entry
	if e.Mount != nil {
		f.plain = e.Mount.Tuning.AuditNonHMACResponseKeys
	}
	if e.Error != nil {
		return &responseJSON{Data: map[string]any{"error": f.value(e.Error.Error(), false)}, mountJSON: f.mount()}
	}
	r := e.Response
	if r == nil {
		return nil
	}
	j := &responseJSON{mountJSON: f.mount(), Warnings: f.names(r.Warnings), WrapInfo: f.wrapInfo(r.Wrap)}
	if r.Wrap != nil {
		return j // what is held back is not told here either
	}
	data := r.Data
	if f.device.opts.elideLists && e.Request.Operation == engines.List {
		data = elide(data)
	}
	j.Data, j.Auth = f.bounded(data), f.issued(r.Auth)
	if r.Encoded != nil {
		j.Data = f.boundedJSON(r.Encoded)
	}
	if r.Secret != nil {
		j.Secret = &secretJSON{LeaseID: f.brief(r.Secret.LeaseID)}
	}
	return j
}

func (f *formatter) issued(a *engines.Auth) *authJSON {
	if a == nil {
		return nil
	}
	return &authJSON{
		Accessor: f.accessor(a.Accessor), ClientToken: f.token(a.Token), EntityID: a.EntityID,
		Metadata: f.metadata(a.Metadata), NumUses: a.NumUses, Policies: f.names(a.Policies),
		TokenPolicies: f.names(a.TokenPolicies), IdentityPols: f.names(a.IdentityPolicies),
		TokenTTL: int64(a.LeaseDuration / time.Second), TokenType: a.TokenType,
	}
}

func (f *formatter) wrapInfo(w *engines.WrapInfo) *wrapJSON {
	if w == nil {
		return nil
	}
	return &wrapJSON{
		Accessor: f.accessor(w.Accessor), CreationPath: f.brief(w.CreationPath), CreationTime: w.CreationTime,
		Token: f.token(w.Token), TTL: int64(w.TTL / time.Second), WrappedAccessor: f.accessor(w.WrappedAccessor),
	}
}
