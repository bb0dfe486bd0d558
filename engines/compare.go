package engines

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"coffer/policy"
)

// comparison is what a handler makes of a parameter beyond its type.
type comparison uint8

const (
	// asTyped is for a parameter that is used as it was decoded.
	asTyped comparison = iota
	// asName is for names of which white space around them and the case of ASCII letters say nothing.
	asName
	// asLetters is asName for names in which the case of all letters says nothing (FoldLetters), unless the engine is
	// configured to tell it. Rules that allow values compare the names as they were sent.
	asLetters
	// asDuration is for a text that is read as a duration.
	asDuration
	// asTTL is for a text that is read as a TTL of a mount: whole seconds, of which none mean the server's own.
	asTTL
	// asNetwork is for texts that are read as IP addresses or networks.
	asNetwork
	// asPath is for paths of mounts, of which "/" at either end says nothing.
	asPath
	// asEncoded is for a text that may come in base64.
	asEncoded
	// asPairs is for a text that is read as names and values, in base64 or not: an object in JSON, or name=value with
	// commas.
	asPairs
	// asAddresses is for a text that is read as URLs of servers with commas between, of which scheme, host and port say
	// where to connect.
	asAddresses
	// asTokenType is for a type of token, which may be named as a default.
	asTokenType
)

// comparisonOf reads the tag `as`; an unknown one is a programming error and panics.
func comparisonOf(tag string) comparison {
	switch tag {
	case "":
		return asTyped
	case "name":
		return asName
	case "letters":
		return asLetters
	case "duration":
		return asDuration
	case "ttl":
		return asTTL
	case "network":
		return asNetwork
	case "path":
		return asPath
	case "encoded":
		return asEncoded
	case "pairs":
		return asPairs
	case "addresses":
		return asAddresses
	case "tokentype":
		return asTokenType
	default:
		panic(fmt.Sprintf("engines: unknown comparison %q", tag))
	}
}

// Param implements policy.Schema.
func (s *schema) Param(name string) (policy.Param, bool) {
	for i := range s.fields {
		f := &s.fields[i]
		if f.name != name || f.fromPath || f.present || f.name == "*" || f.kind == kindAny && f.compare == asTyped {
			continue
		}
		p := policy.Param{Others: s.otherNames(f), Read: f.read}
		if f.compare == asLetters {
			exact := *f
			exact.compare = asTyped
			p.Allow = exact.read
		}
		return p, true
	}
	return policy.Param{}, false
}

// otherNames are the names under which the handler takes the same parameter.
func (s *schema) otherNames(f *field) []string {
	newest := f.oldFor
	if newest == "" {
		newest = f.name
	}
	var others []string
	for i := range s.fields {
		o := &s.fields[i]
		if o.name != f.name && !o.present && (o.name == newest || o.oldFor == newest) {
			others = append(others, o.name)
		}
	}
	return others
}

// read is a value of the parameter as its handler reads it, for the comparison with those of a policy. It reports false
// for a value that the handler refuses.
func (f *field) read(raw any) (policy.Value, bool) {
	dst := reflect.New(f.kind.goType()).Elem()
	// A null is the zero value: some handlers take it for that, the others for nothing.
	if raw != nil && assign(dst, f.kind, raw) != nil {
		return policy.Value{}, false
	}
	texts, ok := f.texts(dst.Interface())
	if f.compare == asAddresses && len(texts) == 1 {
		texts = splitList(texts[0])
	}
	for i := 0; ok && i < len(texts); i++ {
		texts[i], ok = f.compare.canonical(texts[i])
	}
	return policy.Value{Texts: texts, Globs: f.compare.isText() && f.kind.isText()}, ok
}

// isText reports whether a "*" in a rule applies to what the handler makes of a text.
func (c comparison) isText() bool {
	switch c {
	case asDuration, asTTL, asNetwork, asPath:
		return false
	default:
		return true
	}
}

func (k kind) isText() bool { return k == kindString || k == kindStrings || k == kindAny }

// canonical is the form of a text that is the same for all texts that the handler takes for one. It reports false for a
// text that the handler refuses.
func (c comparison) canonical(text string) (string, bool) {
	switch c {
	case asName:
		return FoldASCII(strings.TrimSpace(text)), true
	case asLetters:
		return FoldLetters(strings.TrimSpace(text)), true
	case asDuration:
		d, err := ParseDuration(text)
		return d.String(), err == nil
	case asTTL:
		if text == "" || text == "system" {
			return time.Duration(0).String(), true
		}
		d, err := ParseDuration(text)
		return max(0, d.Truncate(time.Second)).String(), err == nil
	case asNetwork:
		if addr, err := netip.ParseAddr(text); err == nil {
			return netip.PrefixFrom(addr, addr.BitLen()).String(), true
		}
		network, err := netip.ParsePrefix(text)
		return network.Masked().String(), err == nil
	case asPath:
		return strings.Trim(text, "/"), true
	case asEncoded:
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			return string(decoded), true
		}
		return text, true
	case asPairs:
		return pairs(text), true
	case asAddresses:
		return connectTo(FoldASCII(text)), true
	case asTokenType:
		return strings.TrimPrefix(strings.TrimPrefix(text, "default"), "-"), true
	default:
		return text, true
	}
}

// connectTo is the part of a URL in lower case that says where to connect: scheme, host and, unless it is the usual
// one, port. What is no URL with a host stays as it is.
func connectTo(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	host := strings.TrimSuffix(u.Host, ":")
	if port := u.Port(); port != "" && port == usualPort(u.Scheme) {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// pairs is the JSON of what a text of names and values says, with sorted names.
func pairs(text string) string {
	text = strings.TrimSpace(text)
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = string(decoded)
	}
	m := make(map[string]string)
	if json.Unmarshal([]byte(text), &m) != nil {
		clear(m)
		for _, pair := range splitList(text) {
			name, value, _ := strings.Cut(pair, "=")
			m[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	canonical, err := json.Marshal(m)
	if err != nil {
		return text
	}
	return string(canonical)
}

// texts is a decoded value as text, each element of a list for itself. It reports false for what no handler reads.
func (f *field) texts(value any) ([]string, bool) {
	switch v := value.(type) {
	case string:
		return []string{v}, true
	case bool:
		return []string{f.boolean(v)}, true
	case int64:
		return []string{strconv.FormatInt(v, 10)}, true
	case json.Number:
		return []string{v.String()}, true
	case time.Duration:
		return []string{v.String()}, true
	case []string:
		return v, true
	case []any:
		items := slices.Clone(v)
		for i, item := range items {
			if b, ok := item.(bool); ok {
				items[i] = f.boolean(b)
			}
		}
		texts, err := parseStrings(items)
		return texts, err == nil
	case []int:
		texts := make([]string, len(v))
		for i, n := range v {
			texts[i] = strconv.Itoa(n)
		}
		return texts, true
	case map[string]string, map[string]any:
		// The one text of an object is its JSON, whose keys are sorted. None is an empty one.
		if reflect.ValueOf(v).Len() == 0 {
			return []string{"{}"}, true
		}
		text, err := json.Marshal(v)
		return []string{string(text)}, err == nil
	default:
		return nil, false
	}
}

// boolean is the text of a boolean. Handlers that take anything for a name read 1 and 0, as Vault does.
func (f *field) boolean(b bool) string {
	switch {
	case f.kind != kindAny || f.compare != asName:
		return strconv.FormatBool(b)
	case b:
		return "1"
	default:
		return "0"
	}
}

// goType is what a parameter of the kind is decoded into.
func (k kind) goType() reflect.Type {
	switch k {
	case kindString:
		return reflect.TypeFor[string]()
	case kindBool:
		return reflect.TypeFor[bool]()
	case kindInt:
		return reflect.TypeFor[int64]()
	case kindDuration:
		return reflect.TypeFor[time.Duration]()
	case kindStrings:
		return reflect.TypeFor[[]string]()
	case kindInts:
		return reflect.TypeFor[[]int]()
	case kindStringMap:
		return reflect.TypeFor[map[string]string]()
	case kindAnyMap:
		return reflect.TypeFor[map[string]any]()
	default:
		return reflect.TypeFor[any]()
	}
}
