package cert_test

import (
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestAnswersAreRemembered(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	server := newResponder(t)
	server.says(response(t, ca, ca, nil, 10, ocsp.Good))
	now := epoch
	m := newMount(t, nil, func() time.Time { return now })
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
		"ocsp_servers_override": server.URL, "ocsp_max_retries": "0"})
	alice := issue(t, ca, 10, "alice")
	for range 3 {
		if _, err := m.login(t, "", as(alice)); err != nil {
			t.Fatal(err)
		}
	}
	if got := server.asked.Load(); got != 1 {
		t.Errorf("asked %d times for one answer", got)
	}
	// A certificate with the same number is another one.
	if _, err := m.login(t, "", as(issue(t, ca, 10, "bob"))); err != nil || server.asked.Load() != 2 {
		t.Errorf("another certificate: %v, asked %d times", err, server.asked.Load())
	}
	now = now.Add(time.Hour)
	server.says(response(t, ca, ca, nil, 10, ocsp.Revoked, func(r *ocsp.Response) { r.NextUpdate = now.Add(time.Hour) }))
	for range 2 {
		if _, err := m.login(t, "", as(alice)); err == nil {
			t.Error("let in on an answer that is out of date")
		}
	}
	if got := server.asked.Load(); got != 3 {
		t.Errorf("asked %d times", got)
	}
}

// A delegate whose certificate was revoked signs no answers.
func TestDelegatesThatWereRevoked(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	delegate := issue(t, ca, 30, "delegate", signsOCSP)
	server := newResponder(t)
	server.says(response(t, ca, delegate, delegate, 11, ocsp.Good))
	m := newMount(t, nil, nil)
	m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
		"ocsp_servers_override": server.URL, "ocsp_max_retries": "0"})
	m.write(t, "crls/ca", map[string]any{"crl": crl(t, ca, epoch, 30)})
	if _, err := m.login(t, "", as(issue(t, ca, 11, "alice"))); err == nil {
		t.Error("let in on the word of a delegate that was revoked")
	}
}

// Who was revoked stays so until a newer answer, not an older one that still holds, says otherwise.
func TestRevokedIsNotTakenBackByAnOlderAnswer(t *testing.T) {
	ca := issue(t, nil, 1, "ca", authority)
	alice := issue(t, ca, 10, "alice")
	span := func(since, until time.Duration) func(*ocsp.Response) {
		return func(r *ocsp.Response) {
			r.ThisUpdate, r.NextUpdate = epoch.Add(since), epoch.Add(until)
			if until == 0 {
				r.NextUpdate = time.Time{}
			}
		}
	}
	for name, revoked := range map[string]func(*ocsp.Response){
		"revoked for a minute": span(-time.Second, time.Minute), "revoked without an end": span(-time.Second, 0),
	} {
		t.Run(name, func(t *testing.T) {
			server := newResponder(t)
			now := epoch
			m := newMount(t, nil, func() time.Time { return now })
			m.write(t, "config", map[string]any{"ocsp_cache_size": "2"})
			m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true, "ocsp_fail_open": true,
				"ocsp_servers_override": server.URL, "ocsp_max_retries": "0"})
			try := func(what string, answer []byte, want bool) {
				t.Helper()
				server.says(answer)
				if _, err := m.login(t, "", as(alice)); (err == nil) != want {
					t.Errorf("%s: %v", what, err)
				}
			}
			try("revoked", response(t, ca, ca, nil, 10, ocsp.Revoked, revoked), false)
			now = epoch.Add(2 * time.Minute)
			for serial := range int64(3) { // these fill the cache
				server.says(response(t, ca, ca, nil, 20+serial, ocsp.Good))
				if _, err := m.login(t, "", as(issue(t, ca, 20+serial, "bob"))); err != nil {
					t.Fatal(err)
				}
			}
			try("older", response(t, ca, ca, nil, 10, ocsp.Good), false)
			try("as old", response(t, ca, ca, nil, 10, ocsp.Good, span(-time.Second, time.Hour)), false)
			try("nobody there", nil, false)
			try("newer", response(t, ca, ca, nil, 10, ocsp.Good, span(time.Second, time.Hour)), true)
		})
	}
}

// What a role allowed when an answer came counts no more when it was made stricter.
func TestAnswersAreForgottenWhenTheRoleChanges(t *testing.T) {
	ca, corporate := issue(t, nil, 1, "ca", authority), issue(t, nil, 2, "corporate", authority)
	aged := func(r *ocsp.Response) { r.ThisUpdate = epoch.Add(-time.Hour) }
	for name, tc := range map[string]struct {
		answer       []byte
		loose, tight map[string]any
	}{
		"age": {response(t, ca, ca, nil, 10, ocsp.Good, aged),
			map[string]any{}, map[string]any{"ocsp_this_update_max_age": "1m"}},
		"authorities": {response(t, ca, corporate, nil, 10, ocsp.Good),
			map[string]any{"ocsp_ca_certificates": corporate.pem()}, map[string]any{"ocsp_ca_certificates": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			server := newResponder(t)
			server.says(tc.answer)
			m := newMount(t, nil, nil)
			m.write(t, "certs/ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true,
				"ocsp_servers_override": server.URL, "ocsp_max_retries": "0"})
			m.write(t, "certs/ca", tc.loose)
			alice := issue(t, ca, 10, "alice")
			if _, err := m.login(t, "", as(alice)); err != nil {
				t.Fatal(err)
			}
			m.write(t, "certs/ca", tc.tight)
			if _, err := m.login(t, "", as(alice)); err == nil {
				t.Error("let in by an answer that the role does not allow any more")
			}
		})
	}
}
