package engines

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
)

// Client is where a request came from. It can be sent to another node as JSON and means the same there.
type Client struct {
	// Addr is the client's address after X-Forwarded-For was honoured; invalid for internal requests.
	Addr netip.Addr
	Port int
	// Header are the HTTP headers; nil for internal requests.
	Header http.Header
	// Secure reports whether the connection was one of TLS.
	Secure bool
	// Chain are the certificates that the client presented in the handshake, its own first: it has shown that it holds
	// the key of that one. Nobody has verified who signed them. It is empty when there are none.
	Chain []*x509.Certificate
}

// maxChain is how many certificates a client presents at most; the listener's handshake allows no more.
const maxChain = 8

// clientRecord is the JSON form of a Client. Certificates are DER in base64.
type clientRecord struct {
	Addr   netip.Addr  `json:"addr"`
	Port   int         `json:"port,omitempty"`
	Header http.Header `json:"header,omitempty"`
	Secure bool        `json:"secure,omitempty"`
	Chain  [][]byte    `json:"chain,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (c Client) MarshalJSON() ([]byte, error) {
	r := clientRecord{Addr: c.Addr, Port: c.Port, Header: c.Header, Secure: c.Secure}
	for _, certificate := range c.Chain {
		r.Chain = append(r.Chain, certificate.Raw)
	}
	return json.Marshal(r)
}

var errChain = errors.New("engines: more certificates than a client can present")

// UnmarshalJSON implements json.Unmarshaler. It refuses what MarshalJSON does not make: a certificate that is none, and
// more than eight of them.
func (c *Client) UnmarshalJSON(text []byte) error {
	var r clientRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	if len(r.Chain) > maxChain {
		return errChain
	}
	read := Client{Addr: r.Addr, Port: r.Port, Header: r.Header, Secure: r.Secure}
	for _, der := range r.Chain {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("engines: a client's certificate: %w", err)
		}
		read.Chain = append(read.Chain, certificate)
	}
	*c = read
	return nil
}
