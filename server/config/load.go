package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what Load reads.
const (
	maxFileSize = 1 << 20
	maxFiles    = 100
)

// ErrNoFiles is returned by Load when it is given no path, or a folder without configuration files.
var ErrNoFiles = errors.New("no configuration files")

// Load reads the configuration at paths, each a file or a folder whose *.hcl and *.json files are read in
// the order of their names. Where files set the same key the last one wins; listeners add up. Variables of
// the environment, asked for through env, win over all files.
//
// Text that is wrong yields errors that match ErrInvalid, all of them joined; the warnings are valid then
// too.
func Load(paths []string, env func(string) string) (*Config, []Warning, error) {
	if len(paths) == 0 {
		return nil, nil, ErrNoFiles
	}
	rep := &report{}
	c, pos, err := load(paths, env, rep)
	if err != nil {
		return nil, rep.sorted(), err
	}
	if len(c.Listeners) == 0 && !rep.about("listener") {
		rep.fail(pos, "listener", `required, such as: listener "tcp" { address = "127.0.0.1:8200" … }`)
	}
	if c.Storage.Kind == "" && !rep.about("storage", "backend") {
		rep.fail(pos, "storage", `required, such as: storage "file" { path = "/vault/data" }`)
	}
	if err := rep.err(); err != nil {
		return nil, rep.sorted(), err
	}
	return c, rep.sorted(), nil
}

// Dev is the listener of a development server.
type Dev struct {
	// Address is host:port.
	Address string
	// CertFile and KeyFile are in PEM; "" for plain HTTP.
	CertFile, KeyFile string
}

// LoadDev is Load for the development server: paths may be empty, a listener for plain HTTP at address
// comes first, and the storage is memory unless the files name another.
func LoadDev(paths []string, dev Dev, env func(string) string) (*Config, []Warning, error) {
	rep := &report{}
	c, pos, err := load(paths, env, rep)
	if err != nil {
		return nil, rep.sorted(), err
	}
	scheme := "https://"
	entries := []entry{{key: "address", pos: pos, value: value{pos: pos, kind: kindString, text: dev.Address}}}
	if dev.CertFile == "" {
		scheme = "http://"
		entries = append(entries, entry{key: "tls_disable", pos: pos, value: value{pos: pos, kind: kindBool, text: "true"}})
	} else {
		entries = append(entries,
			entry{key: "tls_cert_file", pos: pos, value: value{pos: pos, kind: kindString, text: dev.CertFile}},
			entry{key: "tls_key_file", pos: pos, value: value{pos: pos, kind: kindString, text: dev.KeyFile}})
	}
	listener := decodeListener(newScope("listener.tcp", "tcp", pos, entries, rep), unauthenticated{})
	c.Listeners = append([]Listener{listener}, c.Listeners...)
	if c.Storage.Kind == "" {
		c.Storage = Storage{Kind: StorageMemory, Label: string(StorageMemory)}
	}
	c.RawStorageEndpoint = true
	if c.Cluster.APIAddr == "" {
		c.Cluster.APIAddr = scheme + c.Listeners[0].Address
	}
	if err := rep.err(); err != nil {
		return nil, rep.sorted(), err
	}
	return c, rep.sorted(), nil
}

// load reads and decodes all files and applies the environment. Its position is that of the last file.
func load(paths []string, env func(string) string, rep *report) (*Config, Position, error) {
	pos := Position{File: "configuration"}
	files, err := expand(paths)
	if err != nil {
		return nil, pos, err
	}
	var entries []entry
	for _, file := range files {
		src, err := readFile(file)
		if err != nil {
			return nil, pos, err
		}
		pos.File = file
		parsed, err := parse(file, src)
		if err != nil {
			return nil, pos, err
		}
		entries = append(entries, parsed...)
	}
	c := decode(entries, pos, rep)
	override(c, env, rep)
	checkListeners(c, rep)
	return c, pos, nil
}

// expand replaces folders by the files in them.
func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			// A path that is there is meant, whatever it looks like.
			if reason := CheckPath(path); reason != nil {
				return nil, fmt.Errorf("-config=%s: %w", path, reason)
			}
			return nil, Explain(err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		inside, err := filesIn(path)
		if err != nil {
			return nil, err
		}
		files = append(files, inside...)
	}
	if len(files) > maxFiles {
		return nil, fmt.Errorf("%w: %d files, at most %d are read", ErrInvalid, len(files), maxFiles)
	}
	return files, nil
}

// filesIn returns the configuration files of a folder by name. Hidden files and what editors leave behind
// are passed over, folders too; links are followed, since Kubernetes mounts ConfigMaps as links.
func filesIn(folder string) ([]string, error) {
	names, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range names {
		name := entry.Name()
		ext := filepath.Ext(name)
		if (ext != ".hcl" && ext != ".json") || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
			continue
		}
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: %s holds no *.hcl and no *.json", ErrNoFiles, folder)
	}
	return files, nil
}

// readFile reads a bounded file. Named pipes work, devices without an end do not hang it.
func readFile(path string) (src []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Explain(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	src, err = io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	if len(src) > maxFileSize {
		return nil, &Error{Position: Position{File: path}, Reason: "larger than 1 MiB"}
	}
	return src, nil
}

// checkListeners refuses two listeners on the same address, which would fail later and less clearly.
func checkListeners(c *Config, rep *report) {
	seen := map[string]bool{}
	for _, l := range c.Listeners {
		if _, port, err := net.SplitHostPort(l.Address); l.Socket == nil && (err != nil || port == "0") {
			continue
		}
		if seen[l.Address] {
			rep.fail(l.Place.Position, l.Place.Key, "%s is used by two listeners; give each its own port", l.Address)
		}
		seen[l.Address] = true
	}
}
