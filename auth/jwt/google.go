package jwt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"coffer/auth/strictjson"
)

// Bounds of what a login asks of Google's directory.
const (
	googleTimeout     = 20 * time.Second
	maxGoogleRequests = 200
	maxGoogleGroups   = 1000
	// renewEarly is how long before its end an access token is replaced, maxAccess how many seconds it is kept at most.
	renewEarly = time.Minute
	maxAccess  = 3600
)

// googleAPI is where Google's directory is. It is no setting: only tests have another one.
type googleAPI struct {
	// directory is the API's address, without a slash at its end.
	directory string
	// roots are the certificates, in PEM, that vouch for Google; "" for the system's.
	roots string
}

func defaultGoogle() googleAPI {
	return googleAPI{directory: "https://admin.googleapis.com/admin/directory/v1"}
}

// What clients are told of trouble with Google. Why is for the log.
var (
	errGoogle     = errors.New("Google's directory could not be asked")
	errManyGroups = fmt.Errorf("the user is in more than %d groups", maxGoogleGroups)
	errManyAsks   = fmt.Errorf("it takes more than %d requests", maxGoogleRequests)
	errUserKey    = errors.New("the user's name is none in Google's directory")
)

// google asks the directory of a Google Workspace who somebody is, as its service account.
type google struct {
	asker
	settings  *gsuiteSettings
	directory string
	// group makes those who wait for an access token share it.
	group singleflight.Group

	mu sync.Mutex
	// What follows is guarded by mu: the access token, until when it is good, and how often one may be asked for.
	token  string
	until  time.Time
	bucket bucket
}

func newGoogle(a asker, s *gsuiteSettings, directory string) *google {
	return &google{asker: a, settings: s, directory: directory, bucket: bucket{tokens: fetchBurst}}
}

// check makes sure that the service account's key is one, without asking anybody.
func (g *google) check() error {
	a, err := g.settings.account()
	if err == nil {
		_, err = a.assertion(g.settings.Admin, g.wall())
	}
	return err
}

// access returns an access token.
func (g *google) access(ctx context.Context) (string, error) {
	g.mu.Lock()
	token, good := g.token, g.now().Before(g.until)
	g.mu.Unlock()
	if good {
		return token, nil
	}
	return share(ctx, &g.group, g.grant)
}

// grant asks Google for an access token (RFC 7523).
func (g *google) grant() (string, error) {
	g.mu.Lock()
	token, good := g.token, g.now().Before(g.until)
	allowed := good || g.bucket.take(g.now())
	g.mu.Unlock()
	switch {
	case good:
		return token, nil
	case !allowed:
		return "", errTooOften
	}
	a, err := g.settings.account()
	if err != nil {
		return "", err
	}
	assertion, err := a.assertion(g.settings.Admin, g.wall())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(g.ctx, askTimeout)
	defer cancel()
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenURI, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token   string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
	}
	if err := g.request(req, &answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", errors.New("the answer holds no access token")
	}
	life := time.Duration(min(max(answer.Seconds, 0), maxAccess)) * time.Second
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token, g.until = answer.Token, g.now().Add(life-renewEarly)
	return answer.Token, nil
}

// request sends a request and reads the JSON of a 200. What it says of another answer is for the log.
func (g *google) request(req *http.Request, into any) error {
	body, status, err := g.client.ask(req)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		if status == http.StatusUnauthorized {
			g.forget()
		}
		return fmt.Errorf("%s answered %d: %s", req.URL.Host, status, excerpt(body))
	}
	if err := strictjson.Check(body); err != nil {
		return err
	}
	if err := decodeJSON(body, into); err != nil {
		return fmt.Errorf("%s answered nonsense", req.URL.Host)
	}
	return nil
}

// forget drops the access token.
func (g *google) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token, g.until = "", time.Time{}
}

// get asks the directory.
func (g *google) get(ctx context.Context, path string, query url.Values, into any) error {
	access, err := g.access(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.directory+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+access)
	return g.request(req, into)
}

// told is what a client may know of trouble; the rest goes to the log.
func (g *google) told(err error) error {
	for _, public := range []error{errManyGroups, errManyAsks, errUserKey} {
		if errors.Is(err, public) {
			return err
		}
	}
	g.logger.Warn("Google's directory cannot be asked", "error", err)
	return errGoogle
}

// groups are the addresses of the groups that somebody is in, in the order in which they are found. user is his
// address or id.
func (g *google) groups(ctx context.Context, user string) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, googleTimeout)
	defer cancel()
	w := &walk{google: g, seen: make(map[string]bool)}
	if err := w.visit(ctx, user, 0); err != nil {
		return nil, g.told(err)
	}
	return w.found, nil
}

// walk follows members to their groups.
type walk struct {
	*google
	seen     map[string]bool
	found    []any
	requests int
}

// visit finds the groups of a member, and the groups these are in as deep as it is set.
func (w *walk) visit(ctx context.Context, member string, depth int) error {
	query := url.Values{"userKey": {member}, "fields": {"nextPageToken,groups(email)"}}
	if w.settings.Domain != "" {
		query.Set("domain", w.settings.Domain)
	}
	for {
		if w.requests++; w.requests > maxGoogleRequests {
			return errManyAsks
		}
		var page struct {
			Groups []struct {
				Email string `json:"email"`
			} `json:"groups"`
			Next string `json:"nextPageToken"`
		}
		if err := w.get(ctx, "/groups", query, &page); err != nil {
			return err
		}
		for _, group := range page.Groups {
			if group.Email == "" || w.seen[group.Email] {
				continue
			}
			if w.seen[group.Email] = true; len(w.seen) > maxGoogleGroups {
				return errManyGroups
			}
			w.found = append(w.found, group.Email)
			if depth < w.settings.Depth {
				if err := w.visit(ctx, group.Email, depth+1); err != nil {
					return err
				}
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("pageToken", page.Next)
	}
}

// addInfo makes claims of somebody's fields in the custom schemas, each schema one claim. They are not mixed up with
// what the token says: a schema that is called like one of its claims is refused.
func (g *google) addInfo(ctx context.Context, user string, claims map[string]any) error {
	if !g.settings.UserInfo || len(g.settings.Schemas) == 0 {
		return nil
	}
	if user == "" || user == "." || user == ".." {
		return errUserKey
	}
	ctx, cancel := context.WithTimeout(ctx, googleTimeout)
	defer cancel()
	var answer struct {
		Schemas map[string]map[string]any `json:"customSchemas"`
	}
	query := url.Values{
		"projection": {"custom"}, "customFieldMask": {strings.Join(g.settings.Schemas, ",")}, "fields": {"customSchemas"},
	}
	if err := g.get(ctx, "/users/"+url.PathEscape(user), query, &answer); err != nil {
		return g.told(err)
	}
	for _, name := range g.settings.Schemas {
		if _, taken := claims[name]; taken {
			return fmt.Errorf("the schema %q is called like a claim of the token", name)
		}
		if fields, ok := answer.Schemas[name]; ok {
			claims[name] = fields
		}
	}
	return nil
}

// fetchGroups puts the groups of somebody into the claim that the role looks for them in.
func (g *google) fetchGroups(ctx context.Context, user, claim string, claims map[string]any) error {
	if !g.settings.Groups {
		return nil
	}
	if user == "" {
		return errUserKey
	}
	groups, err := g.groups(ctx, user)
	if err != nil {
		return err
	}
	if groups == nil {
		groups = []any{}
	}
	setClaim(claims, claim, groups)
	return nil
}
