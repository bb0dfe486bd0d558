package cert_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/memory"
)

// crlOf is a revocation list in PEM that revokes the certificate number 10, issued at epoch, after a change.
func crlOf(t testing.TB, ca *identity, change ...func(*x509.RevocationList)) string {
	t.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(5), ThisUpdate: epoch, NextUpdate: epoch.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(10), RevocationTime: epoch}},
	}
	for _, c := range change {
		c(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// Changes of a list.
func empty(l *x509.RevocationList) { l.RevokedCertificateEntries = nil }

func at(number int64, since time.Duration) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.Number, l.ThisUpdate, l.NextUpdate = big.NewInt(number), epoch.Add(since), epoch.Add(since+time.Hour)
	}
}

func with(oid string, critical bool, value any) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, extension(oid, critical, value))
	}
}

// entry gives each entry an extension.
func entry(oid string, critical bool, value any) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		for i := range l.RevokedCertificateEntries {
			l.RevokedCertificateEntries[i].ExtraExtensions = []pkix.Extension{extension(oid, critical, value)}
		}
	}
}

func extension(oid string, critical bool, value any) pkix.Extension {
	var id asn1.ObjectIdentifier
	for part := range strings.SplitSeq(oid, ".") {
		n, _ := new(big.Int).SetString(part, 10)
		id = append(id, int(n.Int64()))
	}
	raw, err := asn1.Marshal(value)
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: id, Critical: critical, Value: raw}
}

// scope is an issuing distribution point.
type scope struct {
	UsersOnly bool `asn1:"optional,tag:1"`
	CAsOnly   bool `asn1:"optional,tag:2"`
	Indirect  bool `asn1:"optional,tag:4"`
	Attribute bool `asn1:"optional,tag:5"`
}

func (m *mount) writeErr(t testing.TB, path string, params map[string]any) string {
	t.Helper()
	_, err := m.call(t.Context(), engines.Update, path, params, engines.Client{})
	if err != nil {
		return err.Error()
	}
	return ""
}

// Two authorities may have given the same number, and even have the same name: each revokes its own.
func TestAListIsAboutItsIssuersCertificatesAlone(t *testing.T) {
	a, b := issue(t, nil, 1, "ca", authority), issue(t, nil, 1, "ca", authority)
	other := issue(t, nil, 2, "other", authority)
	middle := issue(t, a, 3, "middle", authority)
	clients := map[string]engines.Client{
		"a": as(issue(t, a, 10, "x")), "b": as(issue(t, b, 10, "x")), "other": as(issue(t, other, 10, "x")),
		"below": as(issue(t, middle, 10, "x"), middle), "leaf": as(issue(t, a, 20, "leaf")),
	}
	for name, tc := range map[string]struct {
		list map[string]any
		out  string
	}{
		"of a":                   {map[string]any{"crl": crlOf(t, a)}, "a"},
		"of b":                   {map[string]any{"crl": crlOf(t, b)}, "b"},
		"of another":             {map[string]any{"crl": crlOf(t, other)}, "other"},
		"of one in between":      {map[string]any{"crl": crlOf(t, middle), "issuer": middle.pem()}, "below"},
		"of a, about the leaf":   {map[string]any{"crl": crl(t, a, epoch, 20)}, "leaf"},
		"of a, about the middle": {map[string]any{"crl": crl(t, a, epoch, 3)}, "below"},
		"of b, about all":        {map[string]any{"crl": crl(t, b, epoch, 1, 3, 10, 20)}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			m := newMount(t, s, nil)
			m.write(t, "certs/leaf", map[string]any{
				"certificate": string(pem.EncodeToMemory(&pem.Block{
					Type: "CERTIFICATE", Bytes: clients["leaf"].Chain[0].Raw}))})
			m.write(t, "certs/all", map[string]any{"certificate": a.pem() + b.pem() + other.pem()})
			m.write(t, "crls/x", tc.list)
			for _, m := range []*mount{m, newMount(t, s, nil)} {
				for who, client := range clients {
					out := who == tc.out || name == "of b, about all" && who == "b"
					if _, err := m.login(t, "", client); (err != nil) != out {
						t.Errorf("%s: %v", who, err)
					}
				}
			}
		})
	}
}

func TestListsThatAreRefused(t *testing.T) {
	ca, namesake := issue(t, nil, 1, "ca", authority), issue(t, nil, 1, "ca", authority)
	noLists := issue(t, nil, 2, "no lists", authority, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	forLists := *noLists // the same key, with a certificate that lets it sign lists
	forLists.cert = issueFor(t, noLists.key, nil, 2, "no lists", authority).cert
	leaf := issue(t, ca, 20, "leaf", func(c *x509.Certificate) {
		c.KeyUsage, c.SubjectKeyId = x509.KeyUsageCRLSign, []byte{20}
	})
	text := crlOf(t, ca)
	const unsigned = "not signed by an authority of any role"
	for name, tc := range map[string]struct {
		list, issuer, want string
	}{
		"signed by the authority":           {text, "", ""},
		"of which the certificate is sent":  {text, ca.pem(), ""},
		"signed by another of the name":     {crlOf(t, namesake), "", unsigned},
		"which is not who is sent":          {text, namesake.pem(), unsigned},
		"signed by one that may not":        {crlOf(t, &forLists), noLists.pem(), unsigned},
		"signed by no authority":            {crlOf(t, leaf), leaf.pem(), unsigned},
		"sent with nonsense":                {text, "x", "failed to parse the issuer's certificate"},
		"a delta":                           {crlOf(t, ca, with("2.5.29.27", true, 1)), "", "delta"},
		"indirect":                          {crlOf(t, ca, with("2.5.29.28", true, scope{Indirect: true})), "", "indirect"},
		"about attributes":                  {crlOf(t, ca, with("2.5.29.28", true, scope{Attribute: true})), "", "attribute"},
		"about users":                       {crlOf(t, ca, with("2.5.29.28", true, scope{UsersOnly: true})), "", ""},
		"with something unknown":            {crlOf(t, ca, with("1.2.3", true, 1)), "", "critical extension"},
		"with something unknown, at will":   {crlOf(t, ca, with("1.2.3", false, 1)), "", ""},
		"about somebody else's":             {crlOf(t, ca, entry("2.5.29.29", true, 1)), "", "indirect"},
		"with entries of an unknown kind":   {crlOf(t, ca, entry("1.2.3", true, 1)), "", "critical extension"},
		"with entries that tell since when": {crlOf(t, ca, entry("2.5.29.24", false, epoch)), "", ""},
		"with a scope that cannot be read":  {crlOf(t, ca, with("2.5.29.28", true, "")), "", "cannot be read"},
		"changed after it was signed":       {altered(t, text), "", unsigned},
		"changed, with the certificate":     {altered(t, text), ca.pem(), unsigned},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, nil, nil)
			m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
			params := map[string]any{"crl": tc.list}
			if tc.issuer != "" {
				params["issuer"] = tc.issuer
			}
			got := m.writeErr(t, "crls/x", params)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if _, err := m.call(t.Context(), engines.Read, "crls/x", nil, engines.Client{}); (err == nil) != (tc.want == "") {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// altered revokes another number than what was signed.
func altered(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	old := []byte{2, 1, 10, 0x17} // the number 10, before a time
	i := strings.Index(string(block.Bytes), string(old))
	if i < 0 {
		t.Fatal("the number is not there")
	}
	block.Bytes[i+2] = 11
	return string(pem.EncodeToMemory(block))
}

// followers are lists that may or may not take the place of the list number 5 of epoch.
func followers(t *testing.T, ca *identity) map[string]struct {
	list string
	want bool
} {
	namesake, other := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "other", authority)
	return map[string]struct {
		list string
		want bool
	}{
		"a newer one":                {crlOf(t, ca, empty, at(6, time.Minute)), true},
		"of the same number":         {crlOf(t, ca, empty, at(5, time.Minute)), true},
		"of the same time":           {crlOf(t, ca, empty, at(6, 0)), true},
		"an older one":               {crlOf(t, ca, empty, at(4, -time.Hour)), false},
		"an older one by its time":   {crlOf(t, ca, empty, at(6, -time.Hour)), false},
		"an older one by its number": {crlOf(t, ca, empty, at(4, time.Hour)), false},
		"a twin":                     {crlOf(t, ca, empty), false},
		"by another of that name":    {crlOf(t, namesake, empty, at(6, time.Minute)), false},
		"by another authority":       {crlOf(t, other, empty, at(6, time.Minute)), false},
		"about authorities only": {
			crlOf(t, ca, empty, at(6, time.Minute), with("2.5.29.28", true, scope{CAsOnly: true})), false},
		"a delta": {crlOf(t, ca, empty, at(6, time.Minute), with("2.5.29.27", true, 5)), false},
		"by a new certificate of the authority": {
			crlOf(t, &identity{cert: issueFor(t, ca.key, nil, 9, "ca", authority).cert, key: ca.key}, empty,
				at(6, time.Minute)), true},
	}
}

// Whoever serves a list cannot bring back who was revoked, nor keep it from growing older unnoticed.
func TestAListIsReplacedByItsSuccessorAlone(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	for name, tc := range followers(t, ca) {
		for _, way := range []string{"written", "fetched", "another address"} {
			t.Run(name+", "+way, func(t *testing.T) {
				var serving atomic.Pointer[string]
				web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write([]byte(*serving.Load()))
				}))
				defer web.Close()
				first := crlOf(t, ca)
				serving.Store(&first)
				now := epoch
				m := newMount(t, nil, func() time.Time { return now })
				m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
				m.write(t, "crls/x", map[string]any{"url": web.URL})
				m.write(t, "crls/x", map[string]any{"url": web.URL}) // the same again
				serving.Store(&tc.list)
				switch way {
				case "written":
					_ = m.writeErr(t, "crls/x", map[string]any{"crl": tc.list})
				case "another address":
					_ = m.writeErr(t, "crls/x", map[string]any{"url": web.URL + "/other"})
				default:
					now = epoch.Add(61 * time.Minute)
					m.engine.(interface{ RefreshDue() }).RefreshDue()
				}
				if _, err := m.login(t, "", as(alice)); (err == nil) != tc.want {
					t.Errorf("replaced: %v, want %v", err == nil, tc.want)
				}
				if _, err := m.call(t.Context(), engines.Delete, "crls/x", nil, engines.Client{}); err != nil {
					t.Fatal(err)
				}
				if way == "written" && tc.want && m.writeErr(t, "crls/x", map[string]any{"crl": first}) != "" {
					t.Error("an older list is refused after the newer one was deleted")
				}
			})
		}
	}
}

// The signer of a list stays known when no role has it any more.
func TestASignerIsRemembered(t *testing.T) {
	ca, other := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "other", authority)
	leaf := issue(t, ca, 10, "leaf")
	m := newMount(t, nil, nil)
	m.write(t, "certs/x", map[string]any{"certificate": ca.pem()})
	m.write(t, "crls/x", map[string]any{"crl": crlOf(t, ca)})
	m.write(t, "certs/x", map[string]any{"certificate": other.pem()})
	m.write(t, "crls/x", map[string]any{"crl": crlOf(t, ca, at(6, time.Minute))})
	m.write(t, "certs/x", map[string]any{"certificate": leaf.pem()})
	if _, err := m.login(t, "", as(leaf)); err == nil {
		t.Error("let in a revoked certificate")
	}
}

// A list that was stored without its signer counts as it did, and is bound to its signer by the next that comes.
func TestListsThatWereStoredWithoutTheirSigner(t *testing.T) {
	ca, namesake := issue(t, nil, 1, "ca", authority), issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	forged := crlOf(t, namesake, empty, at(6, time.Minute))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(forged))
	}))
	defer web.Close()
	raw, err := json.Marshal(map[string]any{"der": []byte(crlOf(t, ca)), "url": web.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := memory.New()
	if err := s.Apply(t.Context(), storage.Put("crl/x", raw)); err != nil {
		t.Fatal(err)
	}
	m := newMount(t, s, func() time.Time { return epoch.Add(2 * time.Hour) })
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem()})
	m.engine.(interface{ RefreshDue() }).RefreshDue()
	if _, err := m.login(t, "", as(alice)); err == nil {
		t.Error("let in a revoked certificate")
	}
	m.write(t, "crls/x", map[string]any{"crl": crlOf(t, ca, empty, at(6, time.Minute))})
	if _, err := m.login(t, "", as(alice)); err != nil {
		t.Error(err)
	}
}
