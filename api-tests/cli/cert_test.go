package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/api-tests/servers"
)

// certificates are files in a folder: NAME.pem and NAME-key.pem.
type certificates struct {
	dir  string
	made map[string]*x509.Certificate
	keys map[string]*ecdsa.PrivateKey
}

func (c *certificates) file(name string) string { return filepath.Join(c.dir, name+".pem") }
func (c *certificates) key(name string) string  { return filepath.Join(c.dir, name+"-key.pem") }

// issue makes a certificate, signed by issuer or, when that is "", by itself.
func (c *certificates) issue(t *testing.T, name, issuer string, isCA bool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(c.made) + 1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: isCA, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if !isCA {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	}
	parent, signer := template, key
	if issuer != "" {
		parent, signer = c.made[issuer], c.keys[issuer]
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if c.made[name], err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.keys[name] = key
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		c.file(name): {Type: "CERTIFICATE", Bytes: der}, c.key(name): {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoginWithCertificate logs in as the documentation of "vault login -method=cert" shows, at listeners with each of
// the settings for client certificates.
func TestLoginWithCertificate(t *testing.T) {
	vault, err := servers.Binary(t.Context(), servers.Vault)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificates{dir: t.TempDir(), made: map[string]*x509.Certificate{}, keys: map[string]*ecdsa.PrivateKey{}}
	c.issue(t, "server", "", false)
	c.issue(t, "ca", "", true)
	c.issue(t, "other-ca", "", true)
	c.issue(t, "alice", "ca", false)
	c.issue(t, "mallory", "other-ca", false)
	standard, closed, strict := freePort(t), freePort(t), freePort(t)
	s := servers.ReadyForTest(t, servers.Kind(*against), servers.Options{
		Storage: servers.InMemory,
		Config: c.listener(standard, "") + c.listener(closed, "tls_disable_client_certs = true") +
			c.listener(strict, "tls_require_and_verify_client_cert = true\n  tls_client_ca_file = \""+c.file("ca")+"\""),
	})
	home := []string{"HOME=" + t.TempDir(), "VAULT_CACERT=" + c.file("server"), "VAULT_MAX_RETRIES=0"}
	admin := append(home, "VAULT_ADDR="+s.Addr(), "VAULT_TOKEN="+s.RootToken)
	mustSay(t, run(t, vault, admin, "auth", "enable", "cert"), "Success! Enabled cert auth method")
	mustSay(t, run(t, vault, admin, "write", "auth/cert/certs/people", "certificate=@"+c.file("ca"), "policies=default"),
		"Success! Data written to: auth/cert/certs/people")

	const welcome, refused = "Success! You are now authenticated.", "failed to match all constraints"
	for name, tc := range map[string]struct{ address, client, want string }{
		"a client":                        {standard, "alice", welcome},
		"a stranger":                      {standard, "mallory", refused},
		"nobody":                          {standard, "", "client certificate must be supplied"},
		"a client that is not asked":      {closed, "alice", "client certificate must be supplied"},
		"a client at a strict listener":   {strict, "alice", welcome},
		"a stranger at a strict listener": {strict, "mallory", "Error authenticating: "},
		"nobody at a strict listener":     {strict, "", "Error authenticating: "},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"login", "-method=cert", "-ca-cert=" + c.file("server"), "-address=https://" + tc.address}
			if tc.client != "" {
				args = append(args, "-client-cert="+c.file(tc.client), "-client-key="+c.key(tc.client))
			}
			mustSay(t, run(t, vault, home, append(args, "name=people")...), tc.want)
		})
	}
	// The token is renewed by who has the key.
	as := func(client string) string {
		env := append(home, "VAULT_ADDR=https://"+standard, "VAULT_CLIENT_CERT="+c.file(client),
			"VAULT_CLIENT_KEY="+c.key(client))
		if client == "alice" {
			mustSay(t, run(t, vault, env, "login", "-method=cert"), welcome)
		}
		return run(t, vault, env, "token", "renew")
	}
	mustSay(t, as("alice"), "token_meta_common_name ")
	mustSay(t, as("mallory"), refused)
}

// listener is the configuration of one more listener, over TLS.
func (c *certificates) listener(address, more string) string {
	return fmt.Sprintf("listener \"tcp\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n  %s\n}\n",
		address, c.file("server"), c.key("server"), more)
}

// freePort is an address that nobody listens at now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func mustSay(t *testing.T, output, want string) {
	t.Helper()
	if !strings.Contains(output, want) {
		t.Errorf("want %q in:\n%s", want, output)
	}
}

// run returns what vault prints, whatever its exit status is.
func run(t *testing.T, vault string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), vault, args...)
	cmd.Env = append(servers.CleanEnv(), env...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}
