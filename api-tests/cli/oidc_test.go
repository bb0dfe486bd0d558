package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// oidcWait bounds each wait of these tests.
const oidcWait = time.Minute

// oidcServer is a server with an OIDC mount whose people log in at the provider as the given client.
func oidcServer(t *testing.T, kind servers.Kind, issuer, client string, role map[string]any) *servers.Server {
	t.Helper()
	s := servers.ReadyForTest(t, kind, servers.Options{Storage: servers.InMemory, LogLevel: "debug"})
	for _, step := range []struct {
		path string
		body any
	}{
		{"sys/auth/oidc", map[string]any{"type": "oidc"}},
		{"sys/policies/acl/team", map[string]any{"policy": `path "secret/*" { capabilities = ["read"] }`}},
		{"auth/oidc/config", map[string]any{"oidc_discovery_url": issuer, "oidc_client_id": client,
			"oidc_client_secret": "secret", "default_role": "people"}},
		{"auth/oidc/role/people", role},
	} {
		if _, err := s.Must(t.Context(), http.MethodPost, step.path, step.body); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// browser follows redirects and keeps cookies, as a person's browser does.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: oidcWait, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		// Browsers name the origin of a form, and not of a page that they are sent to.
		req.Header.Del("Origin")
		if len(via) > 10 {
			return errors.New("too many redirects")
		}
		return nil
	}}
}

// visit reads a page and returns where the redirects led.
func visit(t *testing.T, c *http.Client, method, address string, form url.Values) (string, *url.URL) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		// As of a page of the same server: most forms here are.
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "http://"+req.URL.Host)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v\n%s", resp.Request.URL, resp.StatusCode, err, page)
	}
	return string(page), resp.Request.URL
}

// enterPassword logs the provider's user in, from the address that begins it, and returns the last page.
func enterPassword(t *testing.T, address string) string {
	t.Helper()
	c := browser(t)
	_, form := visit(t, c, http.MethodGet, address, nil)
	page, _ := visit(t, c, http.MethodPost, form.Scheme+"://"+form.Host+form.Path, url.Values{
		"id": {form.Query().Get("authRequestID")}, "username": {"test-user2"}, "password": {"verysecure"}})
	return page
}

// stockLogin is a `vault login` that waits for a browser.
type stockLogin struct {
	cmd *exec.Cmd
	out bytes.Buffer
	// address is where it sends the browser.
	address string
}

// beginStockLogin starts the stock command, which listens on the port for the browser that comes back.
func beginStockLogin(t *testing.T, s *servers.Server, issuer, port string) *stockLogin {
	t.Helper()
	vault, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	l := &stockLogin{cmd: exec.CommandContext(t.Context(), vault, "login", "-method=oidc", "-format=json", "-no-store",
		"skip_browser=true", "port="+port)}
	l.cmd.Env = append(servers.CleanEnv(), "VAULT_ADDR="+s.Addr(), "HOME="+t.TempDir())
	l.cmd.Stdout = &l.out
	messages, err := l.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	lines := bufio.NewScanner(messages)
	for lines.Scan() {
		said += lines.Text() + "\n"
		if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, issuer) {
			l.address = text
		}
		if strings.HasPrefix(lines.Text(), "Waiting for OIDC") {
			break
		}
	}
	if l.address == "" {
		_ = l.cmd.Wait()
		t.Fatalf("vault names no address: %s", said)
	}
	return l
}

// check waits for the command and looks at the token that it was given.
func (l *stockLogin) check(t *testing.T) {
	t.Helper()
	if err := l.cmd.Wait(); err != nil {
		t.Fatalf("vault login: %v\n%s", err, l.out.String())
	}
	checkOIDCToken(t, l.out.Bytes())
}

// TestLoginWithOIDC logs in with the stock command at a real provider, with a browser that has no screen.
func TestLoginWithOIDC(t *testing.T) {
	port := freeLoopbackPort(t)
	issuer := servers.OIDCProvider(t.Context(), t, fmt.Sprintf("http://localhost:%s/oidc/callback", port))
	s := oidcServer(t, servers.Kind(*against), issuer, "web", map[string]any{"user_claim": "email", "token_policies": "team",
		"allowed_redirect_uris": "http://localhost:8250/oidc/callback", "oidc_scopes": "email,profile",
		"claim_mappings": map[string]any{"preferred_username": "name"}, "verbose_oidc_logging": true})
	login := beginStockLogin(t, s, issuer, port)
	if page := enterPassword(t, login.address); !strings.Contains(page, "Signed in") {
		t.Errorf("the browser ends at\n%.300s", page)
	}
	login.check(t)
	log, err := os.ReadFile(s.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(login.address)
	if err != nil {
		t.Fatal(err)
	}
	if servers.Kind(*against) != servers.Coffer {
		return
	}
	for _, secret := range []string{u.Query().Get("state"), u.Query().Get("nonce"), "eyJ", "hvs."} {
		if bytes.Contains(log, []byte(secret)) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// formField is a hidden field of the provider's form.
var formField = regexp.MustCompile(`name="([^"]*)"\s+value="([^"]*)"`)

// TestLoginWithOIDCByForm has the provider post its answer with a form, which the stock command passes on.
func TestLoginWithOIDCByForm(t *testing.T) {
	for _, response := range []string{"code", "id_token"} {
		t.Run(response, func(t *testing.T) {
			port := freeLoopbackPort(t)
			callback := fmt.Sprintf("http://localhost:%s/oidc/callback", port)
			issuer := servers.OIDCProvider(t.Context(), t, callback)
			s := oidcServer(t, servers.Kind(*against), issuer, "web", map[string]any{"user_claim": "sub", "token_policies": "team",
				"allowed_redirect_uris": "http://localhost:8250/oidc/callback", "oidc_scopes": "email,profile",
				"claim_mappings": map[string]any{"preferred_username": "name"}})
			if _, err := s.Must(t.Context(), http.MethodPost, "auth/oidc/config", map[string]any{"oidc_discovery_url": issuer,
				"oidc_client_id": "web", "oidc_client_secret": "secret", "default_role": "people",
				"oidc_response_mode": "form_post", "oidc_response_types": response}); err != nil {
				t.Fatal(err)
			}
			login := beginStockLogin(t, s, issuer, port)
			page := enterPassword(t, login.address)
			form := url.Values{}
			for _, field := range formField.FindAllStringSubmatch(page, -1) {
				form.Set(field[1], html.UnescapeString(field[2]))
			}
			// Vault asks for no form when it is to bring a code.
			if servers.Kind(*against) == servers.Coffer || response == "id_token" {
				if form.Get(response) == "" {
					t.Fatalf("the provider's page has no %s:\n%s", response, page)
				}
				page, _ = visit(t, browser(t), http.MethodPost, callback, form)
			}
			if !strings.Contains(page, "Signed in") {
				t.Errorf("the browser ends at\n%.300s", page)
			}
			login.check(t)
		})
	}
}

// checkOIDCToken looks at the answer that brought a token.
func checkOIDCToken(t *testing.T, answer []byte) {
	t.Helper()
	var secret struct {
		Auth struct {
			Token    string            `json:"client_token"`
			Policies []string          `json:"policies"`
			Metadata map[string]string `json:"metadata"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(answer, &secret); err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	a := secret.Auth
	if !strings.HasPrefix(a.Token, "hvs.") || strings.Join(a.Policies, " ") != "default team" ||
		a.Metadata["role"] != "people" || a.Metadata["name"] != "test-user2" {
		t.Errorf("the login yields %s", answer)
	}
}

// freeLoopbackPort is a port that the command can listen on.
func freeLoopbackPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// post sends JSON without a token and returns the data of the answer, its whole, and the errors.
func post(t *testing.T, s *servers.Server, path string, body map[string]any) (map[string]any, []byte, []string) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Addr()+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: oidcWait}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	whole, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data   map[string]any `json:"data"`
		Errors []string       `json:"errors"`
	}
	if err := json.Unmarshal(whole, &answer); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, whole)
	}
	return answer.Data, whole, answer.Errors
}

// pollForToken polls as a client does, until there is a token.
func pollForToken(t *testing.T, s *servers.Server, state any) []byte {
	t.Helper()
	for deadline := time.Now().Add(oidcWait); time.Now().Before(deadline); <-time.After(pollEvery) {
		_, whole, errs := post(t, s, "auth/oidc/oidc/poll", map[string]any{"state": state, "client_nonce": "n"})
		switch strings.Join(errs, " ") {
		case "":
			return whole
		case "authorization_pending", "slow_down":
		default:
			t.Fatalf("poll: %v", errs)
		}
	}
	t.Fatal("no token in time")
	return nil
}

// TestLoginWithOIDCDirect has the provider send the browser to coffer itself, which asks whether the login is wanted.
// The answer comes from coffer's own page, which CORS does not stop.
func TestLoginWithOIDCDirect(t *testing.T) {
	front := freeLoopbackPort(t)
	callback := fmt.Sprintf("http://127.0.0.1:%s/v1/auth/oidc/oidc/callback", front)
	issuer := servers.OIDCProvider(t.Context(), t, callback)
	s := oidcServer(t, servers.Coffer, issuer, "web", map[string]any{"user_claim": "email", "token_policies": "team",
		"allowed_redirect_uris": callback, "oidc_scopes": "email,profile", "callback_mode": "direct", "poll_interval": "1s",
		"claim_mappings": map[string]any{"preferred_username": "name"}})
	if _, err := s.Must(t.Context(), http.MethodPost, "sys/config/cors",
		map[string]any{"enabled": true, "allowed_origins": "https://other.example"}); err != nil {
		t.Fatal(err)
	}
	// The provider knows one address, which leads to the server's.
	l, err := net.Listen("tcp", "127.0.0.1:"+front)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{ReadHeaderTimeout: oidcWait, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.Addr()+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	})}
	go func() { _ = proxy.Serve(l) }()
	t.Cleanup(func() { _ = proxy.Close() })
	data, _, _ := post(t, s, "auth/oidc/oidc/auth_url", map[string]any{"redirect_uri": callback, "client_nonce": "n"})
	address, _ := data["auth_url"].(string)
	page := enterPassword(t, address)
	_, rest, asked := strings.Cut(page, `name="question" value="`)
	question, _, _ := strings.Cut(rest, `"`)
	if !asked || !strings.Contains(page, "127.0.0.1") || !strings.Contains(page, "test-user2") {
		t.Fatalf("the browser ends at\n%.2000s", page)
	}
	state, _ := data["state"].(string)
	page, _ = visit(t, browser(t), http.MethodPost, s.Addr()+"/v1/auth/oidc/oidc/callback",
		url.Values{"state": {state}, "question": {question}, "answer": {"yes"}})
	if !strings.Contains(page, "You are logged in") {
		t.Errorf("the browser ends at\n%.2000s", page)
	}
	checkOIDCToken(t, pollForToken(t, s, data["state"]))
}

// TestLoginWithOIDCDevice has the user enter a code at the provider.
func TestLoginWithOIDCDevice(t *testing.T) {
	issuer := servers.OIDCProvider(t.Context(), t, "http://localhost/")
	s := oidcServer(t, servers.Coffer, issuer, "device", map[string]any{"user_claim": "email", "token_policies": "team",
		"oidc_scopes": "email,profile", "callback_mode": "device", "poll_interval": "1s",
		"claim_mappings": map[string]any{"preferred_username": "name"}})
	data, whole, _ := post(t, s, "auth/oidc/oidc/auth_url", map[string]any{"client_nonce": "n"})
	code, _ := data["user_code"].(string)
	if code == "" {
		t.Fatalf("auth_url: %s", whole)
	}
	c := browser(t)
	visit(t, c, http.MethodPost, issuer+"/device/login",
		url.Values{"user_code": {code}, "username": {"test-user2"}, "password": {"verysecure"}})
	visit(t, c, http.MethodPost, issuer+"/device/confirm", url.Values{"action": {"allowed"}})
	checkOIDCToken(t, pollForToken(t, s, data["state"]))
}
