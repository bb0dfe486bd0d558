package config

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"
)

// Bounds of what a listener may be told.
const (
	maxBody     = 1 << 30
	maxTimeout  = 24 * time.Hour
	maxJSONPart = 1 << 30
)

func decodeListeners(top *scope) []Listener {
	var listeners []Listener
	open := decodeUnauthenticated(top)
	for _, s := range top.labelled("listener") {
		if s.label != "tcp" && s.label != "unix" {
			s.report.fail(s.pos, s.path, `unsupported listener type; coffer supports listener "tcp" and listener "unix"`)
			continue
		}
		listeners = append(listeners, decodeListener(s, open))
	}
	return listeners
}

func decodeListener(s *scope, open unauthenticated) Listener {
	l := Listener{}
	l.GenerateRoot = decodeAccess(s, "disable_unauthed_generate_root_endpoints", open.generateRoot)
	l.Rekey = decodeAccess(s, "disable_unauthed_rekey_endpoints", open.rekey)
	if s.label == "unix" {
		decodeSocket(s, &l)
	} else {
		decodeAddresses(s, &l)
		l.TLS = decodeTLS(s)
		s.ignore("socket_group", "socket_mode", "socket_user")
	}
	l.Place = Place{s.place("address"), s.name("address")}
	l.Timeouts = decodeTimeouts(s)
	l.Limits = decodeLimits(s)
	l.ForwardedFor = decodeForwardedFor(s)
	s.boolean("require_request_header", &l.RequireRequestHeader)
	if t := s.block("telemetry"); t != nil {
		t.boolean("unauthenticated_metrics_access", &l.UnauthenticatedMetrics)
		t.finish()
	}
	s.ignore("agent_api", "chroot_namespace", "cors_allowed_headers", "cors_allowed_origins", "cors_enabled",
		"custom_response_headers", "disable_replication_status_endpoints", "disable_request_limiter",
		"inflight_requests_logging", "max_request_json_memory", "max_request_json_strings", "profiling", "proxy_api",
		"proxy_protocol_authorized_addrs", "proxy_protocol_behavior", "purpose", "redact_addresses",
		"redact_cluster_name", "redact_version", "role",
		"x_forwarded_for_client_cert_header", "x_forwarded_for_client_cert_header_decoders")
	s.finish()
	return l
}

func decodeAddresses(s *scope, l *Listener) {
	l.Address = DefaultListenAddress
	s.str("address", &l.Address)
	s.str("cluster_address", &l.ClusterAddress)
	var err error
	if l.Address, err = listenAddress(l.Address); err != nil {
		s.fail("address", "%v", err)
		return
	}
	if l.ClusterAddress == "" {
		l.ClusterAddress = nextPort(l.Address)
	}
	if l.ClusterAddress, err = listenAddress(l.ClusterAddress); err != nil {
		s.fail("cluster_address", "%v", err)
	}
}

// decodeTLS returns nil when the listener serves plain HTTP.
func decodeTLS(s *scope) *TLS {
	var disabled, required, ignored bool
	var lowest, highest, suites string
	t := &TLS{ClientAuth: tls.RequestClientCert}
	s.boolean("tls_disable", &disabled)
	s.filePath("tls_cert_file", &t.CertFile)
	s.filePath("tls_key_file", &t.KeyFile)
	s.filePath("tls_client_ca_file", &t.ClientCAFile)
	s.str("tls_min_version", &lowest)
	s.str("tls_max_version", &highest)
	s.str("tls_cipher_suites", &suites)
	s.boolean("tls_require_and_verify_client_cert", &required)
	s.boolean("tls_disable_client_certs", &ignored)
	s.ignore("tls_prefer_server_cipher_suites")
	if disabled {
		return nil
	}
	t.Place = Place{s.place("tls_cert_file"), s.name("tls_cert_file")}
	requireFile(s, "tls_cert_file", t.CertFile)
	requireFile(s, "tls_key_file", t.KeyFile)
	if t.ClientCAFile != "" {
		requireFile(s, "tls_client_ca_file", t.ClientCAFile)
	}
	t.MinVersion = tlsVersion(s, "tls_min_version", lowest, tls.VersionTLS12)
	t.MaxVersion = tlsVersion(s, "tls_max_version", highest, tls.VersionTLS13)
	if t.MinVersion > t.MaxVersion {
		s.fail("tls_max_version", "is below tls_min_version")
	}
	t.CipherSuites = cipherSuites(s, suites)
	switch {
	case required && ignored:
		s.fail("tls_disable_client_certs", "cannot be combined with tls_require_and_verify_client_cert")
	case required:
		t.ClientAuth = tls.RequireAndVerifyClientCert
	case ignored:
		t.ClientAuth = tls.NoClientCert
	}
	return t
}

func requireFile(s *scope, key, path string) {
	if path == "" {
		if !s.said(key) {
			s.fail(key, "required unless tls_disable is true")
		}
		return
	}
	if err := readable(path); err != nil {
		s.fail(key, "%v", err)
	}
}

func tlsVersion(s *scope, key, text string, fallback uint16) uint16 {
	switch strings.ToLower(text) {
	case "":
		return fallback
	case "tls10", "tls11":
		s.warn(key, "TLS 1.0 and 1.1 are not offered; TLS 1.2 is used instead")
		return tls.VersionTLS12
	case "tls12":
		return tls.VersionTLS12
	case "tls13":
		return tls.VersionTLS13
	default:
		s.fail(key, `expected "tls12" or "tls13", got %q`, text)
		return fallback
	}
}

func cipherSuites(s *scope, text string) []uint16 {
	const key = "tls_cipher_suites"
	if text == "" {
		return nil
	}
	known := map[string]uint16{}
	for _, suite := range tls.CipherSuites() {
		known[suite.Name] = suite.ID
	}
	var ids []uint16
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		id, ok := known[name]
		if !ok {
			s.fail(key, "unknown or insecure cipher suite %q", name)
			return nil
		}
		ids = append(ids, id)
	}
	return ids
}

func decodeTimeouts(s *scope) Timeouts {
	t := Timeouts{}
	s.duration("http_read_header_timeout", &t.ReadHeader, 0, maxTimeout)
	s.duration("http_read_timeout", &t.Read, 0, maxTimeout)
	s.duration("http_write_timeout", &t.Write, 0, maxTimeout)
	s.duration("http_idle_timeout", &t.Idle, 0, maxTimeout)
	// As in Vault, 0 asks for the default.
	t.ReadHeader = orDefault(t.ReadHeader, 10*time.Second)
	t.Read = orDefault(t.Read, 30*time.Second)
	t.Idle = orDefault(t.Idle, 5*time.Minute)
	return t
}

func decodeLimits(s *scope) Limits {
	l := Limits{}
	s.size("max_request_size", &l.RequestSize, 0, maxBody)
	s.duration("max_request_duration", &l.RequestDuration, 0, maxTimeout)
	l.RequestSize = orDefault(l.RequestSize, DefaultMaxRequestSize)
	l.RequestDuration = orDefault(l.RequestDuration, DefaultMaxRequestDuration)
	for _, limit := range []struct {
		name     string
		dst      *int
		standard int
	}{
		{"depth", &l.JSON.Depth, 300},
		{"string_value_length", &l.JSON.StringLength, 1 << 20},
		{"object_entry_count", &l.JSON.ObjectEntries, 10_000},
		{"array_element_count", &l.JSON.ArrayElements, 10_000},
		{"token", &l.JSON.Tokens, 500_000},
	} {
		s.integer("max_json_"+limit.name, limit.dst, 0, maxJSONPart)
		s.integer("max_request_json_"+limit.name, limit.dst, 0, maxJSONPart)
		*limit.dst = orDefault(*limit.dst, limit.standard)
	}
	return l
}

func orDefault[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}

func decodeForwardedFor(s *scope) ForwardedFor {
	// Vault rejects neither unless it is told to, whatever its documentation says. A proxy that forgets the header would
	// pass for an operator at the machine, and one that is not listed for a client that it is not.
	f := ForwardedFor{RejectNotPresent: true, RejectNotAuthorized: true}
	for _, text := range s.list("x_forwarded_for_authorized_addrs") {
		if s.label == "unix" {
			if f.Socket = text == "unix"; !f.Socket {
				s.fail("x_forwarded_for_authorized_addrs", `who opens a socket has no address; write ["unix"] to believe all `+
					`of them, got %q`, text)
			}
			continue
		}
		prefix, err := parsePrefix(text)
		if err != nil {
			s.fail("x_forwarded_for_authorized_addrs", "expected addresses or CIDR blocks, got %q", text)
			continue
		}
		f.Authorized = append(f.Authorized, prefix)
	}
	s.integer("x_forwarded_for_hop_skips", &f.HopSkips, 0, 1000)
	if reject := s.optional("x_forwarded_for_reject_not_present"); reject != nil {
		f.RejectNotPresent, f.RequireHeader = *reject, *reject
	}
	s.boolean("x_forwarded_for_reject_not_authorized", &f.RejectNotAuthorized)
	return f
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		return prefix.Masked(), err
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}
