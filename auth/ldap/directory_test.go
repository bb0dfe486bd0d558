package ldap_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	goldap "github.com/go-ldap/ldap/v3"
	"github.com/jimlambrt/gldap"
)

// entry is one entry of the directory that both servers serve.
type entry struct {
	dn     string
	values map[string][]string
}

const (
	base       = "dc=example,dc=org"
	people     = "ou=people," + base
	groupsDN   = "ou=groups," + base
	readerDN   = "cn=reader," + base
	readerPass = "reader-secret"
	oddName    = `we,i+r=d "(x)*" <\>;#`
)

func person(rdn, uid, mail, password string) entry {
	return entry{rdn + "," + people, map[string][]string{
		"objectClass": {"inetOrgPerson"}, "cn": {"cn of " + uid}, "sn": {"x"}, "uid": {uid}, "mail": {mail},
		"userPassword": {password}}}
}

// tree is what is in the directory.
var tree = []entry{
	{base, map[string][]string{"objectClass": {"dcObject", "organization"}, "o": {"example"}, "dc": {"example"}}},
	{people, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"people"}}},
	{groupsDN, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"groups"}}},
	{readerDN, map[string][]string{"objectClass": {"organizationalRole", "simpleSecurityObject"}, "cn": {"reader"},
		"userPassword": {readerPass}}},
	person("uid=alice", "alice", "alice@example.org", "wonderland"),
	person("uid=bob", "bob", "shared@example.org", "builder"),
	person("uid=carol", "carol", "shared@example.org", "carols"),
	person("uid="+goldap.EscapeDN(oddName), oddName, "odd@example.org", "odd-secret"),
	person("uid=müller", "müller", "mueller@example.org", "mill"),
	person("uid=mİke", "mİke", "mike2@example.org", "other"),
	person("uid=eve", "eve", "eve@example.org", "apple"),
	{"uid=Frank," + people, map[string][]string{"objectClass": {"inetOrgPerson"}, "cn": {"Frank"}, "sn": {"x"},
		"uid": {"francis", "Frank"}, "userPassword": {"beans"}}},
	{"cn=Dev," + groupsDN, map[string][]string{"objectClass": {"groupOfNames"}, "cn": {"Dev"},
		"member": {"uid=alice," + people, "uid=" + goldap.EscapeDN(oddName) + "," + people}}},
	{"cn=ops," + groupsDN, map[string][]string{"objectClass": {"groupOfUniqueNames"}, "cn": {"ops"},
		"uniqueMember": {"uid=bob," + people, "uid=alice," + people}}},
	{"cn=posix," + groupsDN, map[string][]string{"objectClass": {"posixGroup"}, "cn": {"posix"}, "gidNumber": {"7"},
		"memberUid": {"alice"}}},
}

// directory is a running server.
type directory struct {
	plain, tls  string // addresses: host:port
	certificate string // of both, in PEM
	// Of the server in the process alone: whom clients bound as, entries beside the tree, and what it does
	// instead of serving the tree while these report true.
	binds    *recorder
	more     []entry
	onSearch func(*gldap.ResponseWriter, *gldap.Request) bool
	onBind   func(*gldap.ResponseWriter, *gldap.Request) bool
	// onModify answers in place of the server, after it has done what it was asked for if it is to.
	onModify func(do func() int) (code int, silent bool)
	// active makes it say that it is Active Directory, and change passwords only as that does.
	active    bool
	passwords *passwords
}

// recorder gathers what clients asked the server in the process for.
type recorder struct {
	mu    sync.Mutex // guards what follows
	names []string
}

func (r *recorder) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := r.names
	r.names = nil
	return names
}

// eachDirectory runs a test against the server in the process and, where it is installed, against slapd.
func eachDirectory(t *testing.T, test func(*testing.T, *directory)) {
	t.Run("in process", func(t *testing.T) { test(t, newDirectory(t, nil)) })
	if binary, err := exec.LookPath("/usr/sbin/slapd"); err == nil {
		t.Run("slapd", func(t *testing.T) { test(t, newSlapd(t, binary)) })
	}
}

// serverCertificate makes a self-signed certificate for 127.0.0.1.
func serverCertificate(t testing.TB) (certificate, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{{127, 0, 0, 1}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// freePort is an address that nobody listens at now.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await polls until a server listens.
func await(t testing.TB, address string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens at %s: %v", address, err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// newDirectory starts the server in the process. change sets what it does beside serving the tree.
func newDirectory(t testing.TB, change func(*directory)) *directory {
	t.Helper()
	certificate, key := serverCertificate(t)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	d := &directory{certificate: string(certificate), binds: &recorder{}, passwords: &passwords{of: map[string]string{}}}
	if change != nil {
		change(d)
	}
	run := func(options ...gldap.Option) string {
		server, err := gldap.NewServer()
		if err != nil {
			t.Fatal(err)
		}
		mux, err := gldap.NewMux()
		if err != nil {
			t.Fatal(err)
		}
		startTLS := func(w *gldap.ResponseWriter, r *gldap.Request) {
			response := r.NewExtendedResponse(gldap.WithResponseCode(gldap.ResultSuccess))
			response.SetResponseName(gldap.ExtendedOperationStartTLS)
			_ = w.Write(response)
			_ = r.StartTLS(conf)
		}
		if err := errors.Join(mux.Bind(d.bind), mux.Search(d.search), mux.Modify(d.modify),
			mux.ExtendedOperation(startTLS, gldap.ExtendedOperationStartTLS), server.Router(mux)); err != nil {
			t.Fatal(err)
		}
		address := freePort(t)
		ended := make(chan error, 1)
		go func() { ended <- server.Run(address, options...) }()
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
			<-ended
		})
		await(t, address)
		return address
	}
	d.plain, d.tls = run(), run(gldap.WithTLSConfig(conf))
	return d
}

// bind checks a password. Without one it says yes to everybody, as servers do (RFC 4513, 5.1.2).
func (d *directory) bind(w *gldap.ResponseWriter, r *gldap.Request) {
	response := r.NewBindResponse(gldap.WithResponseCode(gldap.ResultInvalidCredentials))
	defer func() { _ = w.Write(response) }()
	m, err := r.GetSimpleBindMessage()
	if err != nil {
		return
	}
	d.binds.add(m.UserName)
	if d.onBind != nil && d.onBind(w, r) {
		response.SetResultCode(gldap.ResultReferral)
		return
	}
	if m.Password == "" {
		response.SetResultCode(gldap.ResultSuccess)
		return
	}
	if d.isPassword(m.UserName, string(m.Password)) {
		response.SetResultCode(gldap.ResultSuccess)
	}
}

func (d *directory) search(w *gldap.ResponseWriter, r *gldap.Request) {
	response := r.NewSearchDoneResponse(gldap.WithResponseCode(gldap.ResultOperationsError))
	defer func() { _ = w.Write(response) }()
	m, err := r.GetSearchMessage()
	if err != nil {
		return
	}
	if d.onSearch != nil && d.onSearch(w, r) {
		response.SetResultCode(gldap.ResultSuccess)
		return
	}
	if m.BaseDN == "" && m.Scope == gldap.BaseObject {
		root := r.NewSearchResponseEntry("")
		if d.active {
			root.AddAttribute("supportedCapabilities", []string{"1.2.840.113556.1.4.1670", "1.2.840.113556.1.4.800"})
		}
		_ = w.Write(root)
		response.SetResultCode(gldap.ResultSuccess)
		return
	}
	filter, err := goldap.CompileFilter(m.Filter)
	if err != nil {
		response.SetDiagnosticMessage(err.Error())
		return
	}
	response.SetResultCode(gldap.ResultNoSuchObject)
	if !slices.ContainsFunc(tree, func(e entry) bool { return sameDN(e.dn, m.BaseDN) }) {
		return
	}
	response.SetResultCode(gldap.ResultSuccess)
	sent := int64(0)
	for _, e := range tree {
		if !within(e.dn, m.BaseDN, m.Scope) || !matches(filter, e.values) {
			continue
		}
		if sent++; m.SizeLimit > 0 && sent > m.SizeLimit {
			response.SetResultCode(gldap.ResultSizeLimitExceeded)
			return
		}
		found := r.NewSearchResponseEntry(e.dn)
		for name, values := range e.values {
			if slices.ContainsFunc(m.Attributes, func(a string) bool { return strings.EqualFold(a, name) }) {
				found.AddAttribute(name, values)
			}
		}
		_ = w.Write(found)
	}
}

func sameDN(a, b string) bool {
	x, err := goldap.ParseDN(a)
	if err != nil {
		return false
	}
	y, err := goldap.ParseDN(b)
	return err == nil && x.EqualFold(y)
}

func within(dn, from string, scope gldap.Scope) bool {
	if scope == gldap.BaseObject {
		return sameDN(dn, from)
	}
	child, err := goldap.ParseDN(dn)
	if err != nil {
		return false
	}
	parent, err := goldap.ParseDN(from)
	return err == nil && (parent.EqualFold(child) || parent.AncestorOfFold(child))
}

// plain is a value as directories compare it: without case, and with spaces that do not count.
func plain(value string) string { return strings.ToLower(strings.Join(strings.Fields(value), " ")) }

func sameValue(name, a, b string) bool {
	switch strings.ToLower(name) {
	case "member", "uniquemember":
		return sameDN(a, b)
	case "memberuid":
		return strings.TrimSpace(a) == strings.TrimSpace(b)
	default:
		return plain(a) == plain(b)
	}
}

// matches evaluates a filter (RFC 4511, 4.5.1.7): and, or, not, equality, presence and substrings.
func matches(f *ber.Packet, values map[string][]string) bool {
	of := func(name string) []string {
		for n, v := range values {
			if strings.EqualFold(n, name) {
				return v
			}
		}
		return nil
	}
	each := func(c *ber.Packet) bool { return matches(c, values) }
	switch f.Tag {
	case goldap.FilterAnd:
		return !slices.ContainsFunc(f.Children, func(c *ber.Packet) bool { return !each(c) })
	case goldap.FilterOr:
		return slices.ContainsFunc(f.Children, each)
	case goldap.FilterNot:
		return !each(f.Children[0])
	case goldap.FilterPresent:
		return len(of(f.Data.String())) > 0
	case goldap.FilterEqualityMatch:
		name, want := f.Children[0].Data.String(), f.Children[1].Data.String()
		return slices.ContainsFunc(of(name), func(v string) bool { return sameValue(name, v, want) })
	case goldap.FilterSubstrings:
		return len(of(f.Children[0].Data.String())) > 0 // enough to show that one came through
	default:
		return false
	}
}

// newSlapd starts OpenLDAP with the same tree.
func newSlapd(t *testing.T, binary string) *directory {
	t.Helper()
	dir := t.TempDir()
	certificate, key := serverCertificate(t)
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile := file("cert.pem", certificate), file("key.pem", key)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := file("slapd.conf", fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile %s
TLSCertificateKeyFile %s
allow bind_anon_cred bind_anon_dn
database mdb
suffix %q
directory %s
access to attrs=userPassword by self write by anonymous auth by * none
access to * by * read
`, certFile, keyFile, base, data))
	var ldif strings.Builder
	for _, e := range tree {
		fmt.Fprintf(&ldif, "dn: %s\n", e.dn)
		for name, values := range e.values {
			for _, value := range values {
				fmt.Fprintf(&ldif, "%s: %s\n", name, value)
			}
		}
		ldif.WriteString("\n")
	}
	load := exec.CommandContext(t.Context(), binary, "-T", "add", "-f", conf, "-l", file("tree.ldif", []byte(ldif.String())))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	d := &directory{plain: freePort(t), tls: freePort(t), certificate: string(certificate)}
	server := exec.Command(binary, "-d", "0", "-f", conf, "-h", "ldap://"+d.plain+"/ ldaps://"+d.tls+"/")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed
	})
	await(t, d.plain)
	await(t, d.tls)
	return d
}
