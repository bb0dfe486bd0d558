package jwt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"coffer/auth/strictjson"
	"coffer/engines"
)

// Providers that need their own treatment.
const (
	providerAzure      = "azure"
	providerGSuite     = "gsuite"
	providerSecureAuth = "secureauth"
	providerISAM       = "ibmisam"
)

// special names the provider that provider_config is about, "" for none. It returns an ErrInvalid in Vault's words
// for one that is not known.
func (c *config) special() (string, error) {
	if len(c.Provider) == 0 {
		return "", nil
	}
	name, ok := c.Provider["provider"].(string)
	if !ok {
		return "", engines.Invalid("invalid provider_config: 'provider' field not found in provider_config")
	}
	switch name {
	case providerAzure, providerSecureAuth, providerISAM, providerGSuite:
		return name, nil
	default:
		return "", engines.Invalid("invalid provider_config: provider %q not found in custom providers", name)
	}
}

// shownProvider is provider_config as a read shows it: without the secret, however its name is spelt.
func (c *config) shownProvider() map[string]any {
	shown := make(map[string]any, len(c.Provider))
	for name, value := range c.Provider {
		if engines.FoldASCII(name) != serviceAccountField {
			shown[name] = value
		}
	}
	return shown
}

// specialGroups puts the groups claim into the form that others have it in, so that bound claims see it too.
func (s *setup) specialGroups(ctx context.Context, r *role, user string, claims map[string]any, access string) error {
	name, err := s.config.special()
	if err != nil || name == "" || r.GroupsClaim == "" {
		return err
	}
	if name == providerGSuite {
		return s.google.fetchGroups(ctx, user, r.GroupsClaim, claims)
	}
	raw, ok := find(claims, r.GroupsClaim)
	var groups []any
	switch text, isText := raw.(string); {
	case name == providerAzure && !ok && (!r.GroupsOptional || groupsAreElsewhere(claims, r.GroupsClaim)):
		if groups, err = s.azureGroups(ctx, r.GroupsClaim, claims, access); err != nil {
			return err
		}
	case name == providerSecureAuth && isText:
		groups = split(text, ",")
	case name == providerISAM && isText:
		groups = split(text, " ")
	default:
		return nil
	}
	setClaim(claims, r.GroupsClaim, groups)
	return nil
}

func split(text, separator string) []any {
	var list []any
	for part := range strings.SplitSeq(text, separator) {
		list = append(list, part)
	}
	return list
}

// setClaim puts a value where find will look for it.
func setClaim(claims map[string]any, name string, value any) {
	at, last := claims, name
	if strings.HasPrefix(name, "/") {
		cut := strings.LastIndexByte(name, '/')
		last = strings.NewReplacer("~1", "/", "~0", "~").Replace(name[cut+1:])
		if cut > 0 {
			parent, _ := pointAt(claims, name[:cut])
			object, ok := parent.(map[string]any)
			if !ok {
				return
			}
			at = object
		}
	}
	at[last] = value
}

// groupsAreElsewhere reports whether the token says that the groups are to be asked for elsewhere, or might say so.
func groupsAreElsewhere(claims map[string]any, claim string) bool {
	raw, ok := claims["_claim_names"]
	if !ok {
		return false
	}
	names, ok := raw.(map[string]any)
	if !ok {
		return true
	}
	_, elsewhere := names[strings.TrimPrefix(claim, "/")]
	return elsewhere
}

// azureGroups asks Microsoft for the groups of a user who is in too many for a token: the token says instead where
// to ask (OpenID Connect Core 5.6.2), and the access token says for whom.
func (s *setup) azureGroups(ctx context.Context, claim string, claims map[string]any, access string) ([]any, error) {
	names, _ := claims["_claim_names"].(map[string]any)
	source, ok := names[strings.TrimPrefix(claim, "/")].(string)
	if !ok {
		return nil, fmt.Errorf("unable to get claim sources: unable to locate groups claim %q in _claim_names", claim)
	}
	sources, _ := claims["_claim_sources"].(map[string]any)
	place, _ := sources[source].(map[string]any)
	endpoint, ok := place["endpoint"].(string)
	if !ok {
		return nil, fmt.Errorf("unable to get claim sources: unable to locate /_claim_sources/%s/endpoint in claims", source)
	}
	if access == "" {
		return nil, fmt.Errorf("%q claim not found in token, and there is no access token to ask for it with", claim)
	}
	address, err := graphURL(endpoint)
	if err != nil {
		return nil, err
	}
	return s.askGraph(ctx, address, access)
}

// graphURL is where the groups are now: the API that tokens still name has moved.
func graphURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" {
		return "", errors.New("the source of the groups is no https URL")
	}
	switch u.Host {
	case "graph.windows.net":
		u.Host, u.Path = "graph.microsoft.com", "/v1.0"+u.Path
	case "graph.microsoftazure.us":
		u.Host, u.Path = "graph.microsoft.us", "/v1.0"+u.Path
	}
	return u.String(), nil
}

func (s *setup) askGraph(ctx context.Context, address, access string) ([]any, error) {
	c, err := newClient(s.config.OIDC.CA, s.config.IgnoredExtensions)
	if err != nil {
		return nil, err
	}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address,
		strings.NewReader(`{"securityEnabledOnly": false}`))
	if err != nil {
		return nil, errors.New("the source of the groups is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+access)
	body, status, err := c.ask(req)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("the source of the groups did not answer (status %d)", status)
	}
	var answer struct {
		Value []any `json:"value"`
	}
	if err := strictjson.Unmarshal(body, &answer); err != nil {
		return nil, errors.New("the source of the groups answered nonsense")
	}
	return answer.Value, nil
}
