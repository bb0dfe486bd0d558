package api

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
)

func TestOneCanonicalPath(t *testing.T) {
	for _, tc := range []struct {
		target   string
		status   int
		location string
	}{
		{"/v1/secret/data/a", 200, ""},
		{"/v1/secret/data/", 200, ""},
		{"/v1/secret/data/...", 200, ""},
		{"/v1/secret/data/..a/.b", 200, ""},
		{"/v1/secret/data%2Fa", 200, ""},
		{"/v1/secret//data", 307, "/v1/secret/data"},
		{"/v1/secret/./data", 307, "/v1/secret/data"},
		{"/v1/secret/../data", 307, "/v1/data"},
		{"/v1/secret/%2e%2e/data", 307, "/v1/data"},
		{"/v1/secret%2f%2e%2e%2fdata", 307, "/v1/data"},
		{"/v1/secret/data/..", 307, "/v1/secret/"},
		{"/v1/secret//?version=2", 307, "/v1/secret/?version=2"},
		{"/v1/sys", 307, "/v1/sys/"},
		{"/v1/sys?a=b%20c;d+e", 307, "/v1/sys/?a=b%20c;d+e"},
		{"/v1/sys?help=1", 200, ""},
		{"/v1?a=b", 307, "/v1/?a=b"},
		{"/v1/sys/pprof?a=b", 307, "/v1/sys/pprof/?a=b"},
		{"/v1/secret/data/%00", 400, ""},
		{"/v1/secret/data/%0a", 400, ""},
		{"/v1/secret/data/%7f", 400, ""},
	} {
		for _, method := range []string{"GET", "LIST", "PUT", "POST", "PATCH", "DELETE"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, tc.target, nil)
			a := &api{}
			if a.canonical(w, r) {
				w.WriteHeader(http.StatusOK)
			}
			if w.Code != tc.status || w.Header().Get("Location") != tc.location {
				t.Errorf("%s %s: %d %q, want %d %q", method, tc.target, w.Code, w.Header().Get("Location"), tc.status, tc.location)
			}
		}
	}
}

func FuzzIsClean(f *testing.F) {
	for _, seed := range []string{"/", "/a/b", "//", "/a/./b", "/a/../b", "/..", "/a/.", "/a/..b", "", "a", "/a/b/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		clean := path.Clean(p)
		if strings.HasSuffix(p, "/") && clean != "/" {
			clean += "/"
		}
		if want := strings.HasPrefix(p, "/") && clean == p; isClean(p) != want {
			t.Errorf("isClean(%q) = %v, want %v", p, isClean(p), want)
		}
	})
}
