package engines

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Destination is where a credential may be sent: addresses, and what a server there must prove. Two destinations are
// equal (==) when they name the same addresses, in any order, on the same terms. The zero value equals no other.
type Destination struct{ digest string }

// NewDestination makes a Destination of the addresses of servers and of terms: every setting that decides which server
// is believed to be there, such as a CA, a server's name or a switch that turns checks off. The order of addresses does
// not matter, nor does the spelling of a URL (case of scheme and host, a default port, a slash at the end), nor white
// space in a term, as at the end of a PEM text. The order of terms does.
func NewDestination(addresses []string, terms ...string) Destination {
	list := make([]string, 0, len(addresses))
	for _, a := range addresses {
		if a = canonicalAddress(a); a != "" {
			list = append(list, a)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	h := sha256.New()
	write := func(s string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(s)))) // no two lists of texts read alike
		h.Write([]byte(s))
	}
	h.Write(binary.AppendUvarint(nil, uint64(len(list))))
	for _, a := range list {
		write(a)
	}
	for _, term := range terms {
		write(strings.Join(strings.Fields(term), " "))
	}
	return Destination{base64.RawStdEncoding.EncodeToString(h.Sum(nil))}
}

// canonicalAddress is one spelling for all of a URL. What is no URL with a host stays as it is, but for white space
// around it.
func canonicalAddress(text string) string {
	text = strings.TrimSpace(text)
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	u.Scheme = FoldASCII(u.Scheme)
	host, port := FoldASCII(u.Hostname()), u.Port()
	if port == "" {
		port = usualPort(u.Scheme)
	}
	u.Host = net.JoinHostPort(host, port)
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u.String()
}

// usualPort is the port of a URL that names none, "" for a scheme that is not known.
func usualPort(scheme string) string {
	return map[string]string{"http": "80", "https": "443", "ldap": "389", "ldaps": "636"}[scheme]
}

// String is a digest of the destination, by which it can be stored beside what was meant for it.
func (d Destination) String() string { return d.digest }

// Bound is a credential that was given for one destination. Whoever may change where a mount connects to need not know
// its credential: For hands it out for no other destination than the one it was given for. The zero value holds none.
//
// JSON holds the credential itself, so a Bound belongs into a mount's storage and never into a response.
type Bound struct {
	secret string
	to     Destination
}

// Bind makes a Bound. An empty secret is none.
func Bind(secret string, to Destination) Bound {
	if secret == "" {
		return Bound{}
	}
	return Bound{secret, to}
}

// For returns the credential for a destination; "" when there is none, or when it was given for another.
func (b Bound) For(to Destination) string {
	if b.to != to || to == (Destination{}) {
		return ""
	}
	return b.secret
}

// IsZero reports whether there is no credential.
func (b Bound) IsZero() bool { return b.secret == "" }

// Forget drops a credential that was given for another destination than to, and reports whether there was one. A
// configuration calls it on each credential that was not sent along with a change.
func (b *Bound) Forget(to Destination) bool {
	if b.IsZero() || b.to == to {
		return false
	}
	*b = Bound{}
	return true
}

// Adopt binds a credential that was stored without a destination. A configuration calls it when it is loaded, with the
// destination that was stored beside the credential.
func (b *Bound) Adopt(to Destination) {
	if b.to == (Destination{}) {
		*b = Bind(b.secret, to)
	}
}

// String implements fmt.Stringer without the credential.
func (Bound) String() string { return redacted }

// GoString implements fmt.GoStringer without the credential.
func (Bound) GoString() string { return redacted }

// LogValue implements slog.LogValuer without the credential.
func (Bound) LogValue() slog.Value { return slog.StringValue(redacted) }

type storedBound struct {
	Secret string `json:"secret"`
	For    string `json:"for"`
}

// MarshalJSON implements json.Marshaler.
func (b Bound) MarshalJSON() ([]byte, error) { return json.Marshal(storedBound{b.secret, b.to.digest}) }

// errBound says nothing of what was read: it may be a credential.
var errBound = errors.New("engines: a bound credential cannot be read")

// UnmarshalJSON implements json.Unmarshaler. A text alone is a credential without a destination: see Adopt.
func (b *Bound) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*b = Bound{secret: text}
		return nil
	}
	var stored storedBound
	if json.Unmarshal(raw, &stored) != nil {
		return errBound
	}
	*b = Bound{stored.Secret, Destination{stored.For}}
	return nil
}
