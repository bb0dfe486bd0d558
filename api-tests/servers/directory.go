package servers

import (
	"strings"
	"testing"
	"time"

	"github.com/jimlambrt/gldap"
)

// The person in Directory.
const (
	alicesDN = "uid=alice,ou=people,dc=example,dc=org"
	// AlicesPassword is that of "alice" in Directory.
	AlicesPassword = "wonderland"
)

// Directory starts an LDAP server for t and returns its address. It has one person, alice, in ou=people,dc=example,dc=org
// and one group, engineers, in ou=groups,dc=example,dc=org, of which she is a member.
func Directory(t testing.TB) string {
	t.Helper()
	server, err := gldap.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	mux, err := gldap.NewMux()
	if err != nil {
		t.Fatal(err)
	}
	bind := func(w *gldap.ResponseWriter, r *gldap.Request) {
		response := r.NewBindResponse(gldap.WithResponseCode(gldap.ResultInvalidCredentials))
		m, err := r.GetSimpleBindMessage()
		if err == nil && m.UserName == alicesDN && m.Password == AlicesPassword {
			response.SetResultCode(gldap.ResultSuccess)
		}
		_ = w.Write(response)
	}
	search := func(w *gldap.ResponseWriter, r *gldap.Request) {
		m, err := r.GetSearchMessage()
		switch {
		case err != nil:
		case m.BaseDN == alicesDN:
			alice := r.NewSearchResponseEntry(alicesDN)
			alice.AddAttribute("uid", []string{"alice"})
			_ = w.Write(alice)
		case strings.Contains(m.Filter, alicesDN):
			group := r.NewSearchResponseEntry("cn=engineers,ou=groups,dc=example,dc=org")
			group.AddAttribute("cn", []string{"engineers"})
			_ = w.Write(group)
		}
		_ = w.Write(r.NewSearchDoneResponse(gldap.WithResponseCode(gldap.ResultSuccess)))
	}
	for _, err := range []error{mux.Bind(bind), mux.Search(search), server.Router(mux)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ports, err := ReservePorts()
	if err != nil {
		t.Fatal(err)
	}
	address := ports.First()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(address) }()
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		<-ended
		if err := ports.Release(); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(startDeadline); !server.Ready(); {
		if time.Now().After(deadline) {
			t.Fatal("the directory does not start")
		}
		<-time.After(pollEvery)
	}
	return address
}
