package config

import (
	"io/fs"
	"os/user"
	"strconv"
)

// maxSocketPath is the length in bytes of the longest path of a socket (sockaddr_un, without its last byte).
const maxSocketPath = 107

// decodeSocket reads what a listener "unix" has instead of a network address. As in Vault, it has no TLS.
func decodeSocket(s *scope, l *Listener) {
	s.filePath("address", &l.Address)
	l.Socket = &Socket{Mode: 0o600}
	switch {
	case l.Address == "" && !s.said("address"):
		s.fail("address", "required: the path of the socket, such as %q", "/run/coffer/coffer.sock")
	case len(l.Address) > maxSocketPath:
		s.fail("address", "at most %d bytes; put the socket into a folder with a shorter path", maxSocketPath)
	}
	if _, grouped := s.entries["socket_group"]; grouped {
		l.Socket.Mode = 0o660
	}
	// Vault takes the mode as a text; a number in HCL is the same digits, with or without a leading 0.
	if v, ok := s.scalar("socket_mode", `an octal mode such as "0660"`, kindString, kindNumber); ok && v.text != "" {
		mode, err := strconv.ParseUint(v.text, 8, 32)
		switch {
		case v.kind == kindNumber:
			s.fail("socket_mode", `write the mode in quotes, such as "0660"`)
		case err != nil || mode > 0o777:
			s.fail("socket_mode", `expected an octal mode such as "0660", got %q`, v.text)
		case mode&0o600 != 0o600:
			s.fail("socket_mode", `the owner needs to read and write, as in "0660"; got %q`, v.text)
		default:
			l.Socket.Mode = fs.FileMode(mode)
		}
	}
	s.owner("socket_user", &l.Socket.User, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	s.owner("socket_group", &l.Socket.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	s.ignore("cluster_address", "tls_cert_file", "tls_key_file", "tls_client_ca_file", "tls_min_version",
		"tls_max_version", "tls_cipher_suites", "tls_require_and_verify_client_cert", "tls_disable_client_certs",
		"tls_prefer_server_cipher_suites")
	var disabled bool
	s.boolean("tls_disable", &disabled)
}

// owner reads a user or group, a name or an id, and keeps the id.
func (s *scope) owner(key string, dst *string, lookup func(name string) (string, error)) {
	v, ok := s.scalar(key, "a name or an id", kindString, kindNumber)
	if !ok || v.text == "" {
		return
	}
	if _, err := strconv.ParseUint(v.text, 10, 31); err == nil {
		*dst = v.text
		return
	}
	id, err := lookup(v.text)
	if err != nil {
		s.fail(key, "%v", err)
		return
	}
	*dst = id
}
