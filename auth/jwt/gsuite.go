package jwt

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"coffer/auth/strictjson"
	"coffer/engines"
)

// gsuiteSettings are the provider_config of Google Workspace.
type gsuiteSettings struct {
	// Account is a service account's key: its JSON, or the path of a file with it.
	Account string
	// Admin is who the service account acts as; "" for itself.
	Admin string
	// Principal matters only to credentials of the machine, which are not used.
	Principal string
	Groups    bool
	UserInfo  bool
	// Depth is how many groups deep groups are followed into the groups they are in.
	Depth int
	// Schemas are the custom schemas that UserInfo makes claims of.
	Schemas []string
	// Domain restricts the groups; "" for all.
	Domain string
}

// serviceAccountField is the one field of a provider_config that holds a secret.
const serviceAccountField = "gsuite_service_account"

// errNoAccount refuses what Vault does without a key: to look for credentials of the machine.
var errNoAccount = errors.New(serviceAccountField + " is missing: credentials of the machine itself are not looked for")

// parseGSuite reads a provider_config. As in Vault the case of the names does not matter, the JSON types do, and other
// names are ignored. Its errors are texts for the client and hold no value.
func parseGSuite(raw map[string]any) (*gsuiteSettings, error) {
	s, schemas := &gsuiteSettings{}, ""
	fields := map[string]any{
		serviceAccountField: &s.Account, "gsuite_admin_impersonate": &s.Admin, "impersonate_principal": &s.Principal,
		"fetch_groups": &s.Groups, "fetch_user_info": &s.UserInfo, "groups_recurse_max_depth": &s.Depth,
		"user_custom_schemas": &schemas, "domain": &s.Domain,
	}
	for name, value := range raw {
		name = engines.FoldASCII(name)
		to, known := fields[name]
		if !known {
			continue
		}
		if to == nil {
			return nil, fmt.Errorf("'%s' is there twice", name)
		}
		fields[name] = nil
		if err := assign(to, value); err != nil {
			return nil, fmt.Errorf("'%s' must be %w", name, err)
		}
	}
	switch {
	case s.Account == "":
		return nil, errNoAccount
	case s.Depth < 0:
		return nil, errors.New("'gsuite_recurse_max_depth' must be a positive integer")
	}
	for schema := range strings.SplitSeq(schemas, ",") {
		if schema = strings.TrimSpace(schema); schema != "" {
			s.Schemas = append(s.Schemas, schema)
		}
	}
	return s, nil
}

// assign puts a JSON value where it belongs; null changes nothing. The error says what it should have been.
func assign(to, value any) error {
	if value == nil {
		return nil
	}
	var ok bool
	switch to := to.(type) {
	case *string:
		if number, is := value.(json.Number); is {
			value = number.String()
		}
		if *to, ok = value.(string); !ok {
			return errors.New("a string")
		}
	case *bool:
		if *to, ok = value.(bool); !ok {
			return errors.New("a bool")
		}
	case *int:
		number, _ := value.(json.Number)
		n, err := number.Int64()
		if err != nil || int64(int(n)) != n {
			return errors.New("an integer")
		}
		*to = int(n)
	}
	return nil
}

// maxAccount bounds a service account's key in bytes.
const maxAccount = 64 << 10

// serviceAccount is what counts of the key of a service account, as Google writes it.
type serviceAccount struct {
	Type     string `json:"type"`
	Email    string `json:"client_email"`
	KeyID    string `json:"private_key_id"`
	Key      string `json:"private_key"`
	TokenURI string `json:"token_uri"`

	key *rsa.PrivateKey
}

const (
	accountType = "service_account"
	// maxType is how much of another type a refusal repeats.
	maxType = 64
)

// Refusals of a service account's key. They hold nothing of a file, which may be any of the machine.
var (
	errAccount     = errors.New("error parsing service account JSON: it is neither that nor a readable file with it")
	errAccountType = errors.New(`error parsing service account JSON: its 'type' is not "service_account"`)
	errAccountKey  = errors.New("error parsing service account JSON: its 'private_key' is no RSA key in PEM")
	errAccountURI  = errors.New("error parsing service account JSON: its 'token_uri' is no https URL")
	errAccountMail = errors.New("error parsing service account JSON: its 'client_email' is missing")
)

// googleTokens is where Google hands out tokens, for a key that does not say it.
const googleTokens = "https://oauth2.googleapis.com/token" //nolint:gosec // an address

// account reads the service account's key. A file is read anew each time, so that a key can be replaced.
func (s *gsuiteSettings) account() (*serviceAccount, error) {
	a, text := &serviceAccount{}, []byte(s.Account)
	inline := bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))
	var err error
	if !inline {
		if text, err = readRegular(s.Account); err != nil {
			return nil, errAccount
		}
	}
	switch err = strictjson.Unmarshal(text, a); {
	case inline && !json.Valid(text):
		return nil, fmt.Errorf("error parsing service account JSON: %w", json.Unmarshal(text, new(any)))
	case err != nil:
		return nil, errAccount
	case inline && a.Type != accountType:
		return nil, fmt.Errorf("error parsing service account JSON: google: read JWT from JSON credentials: "+
			"'type' field is %q (expected %q)", a.Type[:min(len(a.Type), maxType)], accountType)
	case a.Type != accountType:
		return nil, errAccountType
	}
	if a.TokenURI == "" {
		a.TokenURI = googleTokens
	}
	u, err := url.Parse(a.TokenURI)
	switch {
	case a.Email == "":
		return nil, errAccountMail
	case err != nil || u.Scheme != "https" || u.Host == "":
		return nil, errAccountURI
	}
	a.key, err = parseRSA(a.Key)
	return a, err
}

// readRegular reads a file that is one, and not too long.
func readRegular(path string) ([]byte, error) {
	about, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !about.Mode().IsRegular() || about.Size() > maxAccount {
		return nil, errAccount
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, maxAccount))
}

func parseRSA(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errAccountKey
	}
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if key, ok := parsed.(*rsa.PrivateKey); ok {
			return key, nil
		}
		return nil, errAccountKey
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, errAccountKey
	}
	return key, nil
}

// googleScopes are what the service account needs to be allowed to do.
const googleScopes = "https://www.googleapis.com/auth/admin.directory.group.readonly " +
	"https://www.googleapis.com/auth/admin.directory.user.readonly"

// assertion is what a token is had for (RFC 7523): that the service account wants to act as somebody.
func (a *serviceAccount) assertion(as string, now time.Time) (string, error) {
	options := (&jose.SignerOptions{}).WithType("JWT")
	if a.KeyID != "" {
		options = options.WithHeader("kid", a.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: a.key}, options)
	if err != nil {
		return "", errAccountKey
	}
	claims := map[string]any{
		"iss": a.Email, "aud": a.TokenURI, "scope": googleScopes, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	if as != "" {
		claims["sub"] = as
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("jwt: assertion: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", errAccountKey
	}
	return signed.CompactSerialize()
}

// initializing puts a reason why a provider_config does not do into Vault's words.
func initializing(err error) error {
	return engines.Invalid("invalid provider_config: error initializing %q provider_config: %v", providerGSuite, err)
}
