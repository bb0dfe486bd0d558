// Package wire writes the JSON envelope that carries every answer, as Vault's clients expect it.
package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"coffer/engines"
)

// Append writes the envelope of resp to b: request_id, lease_id, renewable, lease_duration, data,
// wrap_info, warnings, auth and mount_type, nulls explicit. resp may be nil.
func Append(b *bytes.Buffer, requestID, mountType string, resp *engines.Response) error {
	if resp == nil {
		resp = &engines.Response{}
	}
	w := writer{Buffer: b}
	if resp.Wrap != nil {
		// What is held back says nothing of the request that made it.
		requestID, mountType = "", ""
	}
	if resp.NoMountType {
		mountType = ""
	}
	w.WriteByte('{')
	if resp.Flatten && resp.Wrap == nil {
		w.flatten(resp.Data)
	}
	w.WriteString(`"request_id":"`)
	w.WriteString(requestID)
	w.lease(resp)
	w.WriteString(`,"data":`)
	switch {
	case resp.Wrap != nil:
		w.WriteString("null")
	case resp.Encoded != nil:
		w.Write(resp.Encoded)
	case resp.Data == nil:
		w.WriteString("null")
	default:
		w.object(resp.Data)
	}
	w.WriteString(`,"wrap_info":`)
	w.wrapInfo(resp.Wrap)
	w.WriteString(`,"warnings":`)
	if len(resp.Warnings) == 0 {
		w.WriteString("null")
	} else {
		w.value(resp.Warnings)
	}
	w.WriteString(`,"auth":`)
	if resp.Auth == nil || resp.Wrap != nil {
		w.WriteString("null")
	} else {
		w.value(authJSON(resp.Auth))
	}
	w.WriteString(`,"mount_type":`)
	w.value(mountType)
	w.WriteString("}\n")
	return w.err
}

// writer appends JSON to a buffer and keeps the first error.
type writer struct {
	*bytes.Buffer
	err error
}

func (w *writer) lease(resp *engines.Response) {
	if resp.Secret == nil || resp.Wrap != nil {
		w.WriteString(`","lease_id":"","renewable":false,"lease_duration":0`)
		return
	}
	w.WriteString(`","lease_id":`)
	w.value(resp.Secret.LeaseID)
	w.WriteString(`,"renewable":`)
	w.value(resp.Secret.Renewable)
	w.WriteString(`,"lease_duration":`)
	w.WriteString(strconv.FormatInt(engines.WholeSeconds(resp.Secret.TTL), 10))
}

// object writes a map in the order of its keys. A json.RawMessage in it is written as it is: it was
// made by encoding/json and is compact.
func (w *writer) object(m map[string]any) {
	w.WriteByte('{')
	if len(m) == 1 {
		for k, v := range m {
			w.member(k, v)
		}
	} else {
		var few [16]string
		keys := slices.AppendSeq(few[:0], maps.Keys(m))
		slices.Sort(keys)
		for i, k := range keys {
			if i > 0 {
				w.WriteByte(',')
			}
			w.member(k, m[k])
		}
	}
	w.WriteByte('}')
}

func (w *writer) member(k string, v any) {
	w.text(k)
	w.WriteByte(':')
	w.value(v)
}

// reserved are the envelope's own names, which flattened data must not repeat.
func reserved(name string) bool {
	switch name {
	case "request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth", "mount_type":
		return true
	default:
		return false
	}
}

func (w *writer) flatten(data map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if !reserved(k) {
			w.member(k, data[k])
			w.WriteByte(',')
		}
	}
}

// value writes one value, the common kinds without reflection.
func (w *writer) value(v any) {
	switch v := v.(type) {
	case nil:
		w.WriteString("null")
	case json.RawMessage:
		if len(v) == 0 {
			w.WriteString("null")
		} else {
			w.Write(v)
		}
	case string:
		w.text(v)
	case bool:
		w.WriteString(strconv.FormatBool(v))
	case int:
		w.WriteString(strconv.Itoa(v))
	case int64:
		w.WriteString(strconv.FormatInt(v, 10))
	case map[string]any:
		if v == nil {
			w.WriteString("null")
		} else {
			w.object(v)
		}
	case []any:
		list(w, v, w.value)
	case []string:
		list(w, v, w.text)
	default:
		w.marshal(v)
	}
}

func (w *writer) marshal(v any) {
	text, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.Write(text)
}

// list writes a list, whose elements each writes.
func list[T any](w *writer, items []T, each func(T)) {
	if items == nil {
		w.WriteString("null")
		return
	}
	w.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			w.WriteByte(',')
		}
		each(item)
	}
	w.WriteByte(']')
}

// text writes a string.
func (w *writer) text(s string) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			w.Grow(engines.TextSize(s))
			w.Write(engines.AppendText(w.AvailableBuffer(), s))
			return
		}
	}
	w.WriteByte('"')
	w.WriteString(s)
	w.WriteByte('"')
}

func (w *writer) wrapInfo(info *engines.WrapInfo) {
	if info == nil {
		w.WriteString("null")
		return
	}
	w.value(wrapInfo{
		Token: info.Token.Reveal(), Accessor: info.Accessor, TTL: engines.WholeSeconds(info.TTL),
		CreationTime: info.CreationTime.UTC().Format(time.RFC3339Nano), CreationPath: info.CreationPath,
		WrappedAccessor: info.WrappedAccessor,
	})
}

// wrapInfo is the "wrap_info" member of an answer to a request with X-Vault-Wrap-TTL.
type wrapInfo struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"`
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// auth is the "auth" member of an answer, `POST /auth/token/create` for one.
type auth struct {
	ClientToken      string                  `json:"client_token"`
	Accessor         string                  `json:"accessor"`
	Policies         []string                `json:"policies"`
	TokenPolicies    []string                `json:"token_policies,omitempty"`
	IdentityPolicies []string                `json:"identity_policies,omitempty"`
	Metadata         map[string]string       `json:"metadata"`
	LeaseDuration    int64                   `json:"lease_duration"`
	Renewable        bool                    `json:"renewable"`
	EntityID         string                  `json:"entity_id"`
	TokenType        string                  `json:"token_type"`
	Orphan           bool                    `json:"orphan"`
	MFARequirement   *engines.MFARequirement `json:"mfa_requirement"`
	NumUses          int                     `json:"num_uses"`
}

func authJSON(a *engines.Auth) auth {
	return auth{
		ClientToken: a.Token.Reveal(), Accessor: a.Accessor, Policies: a.Policies, TokenPolicies: a.TokenPolicies,
		IdentityPolicies: a.IdentityPolicies, Metadata: a.Metadata, LeaseDuration: engines.WholeSeconds(a.LeaseDuration),
		Renewable: a.Renewable, EntityID: a.EntityID, TokenType: a.TokenType, Orphan: a.Orphan, NumUses: a.NumUses,
		MFARequirement: a.MFA,
	}
}
