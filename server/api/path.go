package api

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// canonical lets a request through whose path has one reading only, and answers the others: 307 to the
// clean path for empty and dot segments, 400 for control characters. Policies, audit and storage see
// the decoded path and nothing else, so a path with an encoded slash or dot is the path it decodes to.
func (a *api) canonical(w http.ResponseWriter, r *http.Request) bool {
	r.URL.RawPath = ""
	p := r.URL.Path
	switch {
	case strings.IndexFunc(p, isControl) >= 0:
		clear(w.Header()) // as bare as net/http's own refusals
		w.WriteHeader(http.StatusBadRequest)
		return false
	case p == "/v1", p == "/v1/sys", p == "/v1/sys/pprof":
		if p != "/v1" && wantsHelp(query(r)) {
			r.URL.Path += "/"
			return true
		}
		target := url.URL{Path: p + "/", RawQuery: r.URL.RawQuery}
		redirect(w, r, target.String())
		return false
	case isClean(p):
		return true
	}
	clean := path.Clean("/" + p)
	isFolder := strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
	if isFolder && clean != "/" {
		clean += "/"
	}
	target := url.URL{Path: clean, RawQuery: r.URL.RawQuery}
	redirect(w, r, target.String())
	return false
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// isClean reports whether p is absolute and has no empty, "." or ".." segment. One "/" may end it.
func isClean(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := 0; i < len(p); i++ {
		if p[i] != '/' || i+1 == len(p) {
			continue
		}
		rest := p[i+1:]
		switch {
		case rest[0] == '/':
			return false
		case rest[0] != '.':
		case len(rest) == 1, rest[1] == '/':
			return false
		case rest[1] == '.' && (len(rest) == 2 || rest[2] == '/'):
			return false
		}
	}
	return true
}
