package kv_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// metadata is what the tests look at in the metadata of a secret.
type metadata struct {
	Current  int `json:"current_version"`
	Oldest   int `json:"oldest_version"`
	Versions map[string]struct {
		Deletion  string `json:"deletion_time"`
		Destroyed bool   `json:"destroyed"`
	} `json:"versions"`
}

func (v *server) metadata(t testing.TB, name string) metadata {
	t.Helper()
	var m metadata
	text := v.do(t, "GET metadata/"+name)
	if err := json.Unmarshal([]byte(text[4:]), &m); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return m
}

// kept is what a version is expected to be.
type kept struct {
	data               string
	deleted, destroyed bool
}

// history is what a secret is expected to be.
type history struct {
	current, oldest int
	versions        map[int]*kept
}

func (h *history) write(data string, keep int) {
	h.current++
	h.versions[h.current] = &kept{data: data}
	for n := range h.versions {
		if n <= h.current-keep {
			delete(h.versions, n)
			h.oldest = h.current - keep + 1
		}
	}
}

func (h *history) compare(t *testing.T, v *server) {
	t.Helper()
	m := v.metadata(t, "a")
	if m.Current != h.current || m.Oldest != h.oldest || len(m.Versions) != len(h.versions) {
		t.Fatalf("versions %d to %d, %d of them; want %d to %d, %d",
			m.Oldest, m.Current, len(m.Versions), h.oldest, h.current, len(h.versions))
	}
	for n, want := range h.versions {
		got, ok := m.Versions[fmt.Sprint(n)]
		if !ok || got.Destroyed != want.destroyed || (got.Deletion != "") != want.deleted {
			t.Fatalf("version %d of %d: %+v, %v; want %+v", n, h.current, got, ok, want)
		}
		text := v.do(t, fmt.Sprintf("GET data/a?version=%d", n))
		if gone := want.deleted || want.destroyed; text[:3] == "404" != gone || !gone && !strings.Contains(text, want.data) {
			t.Fatalf("version %d of %d: %.200s; want %+v", n, h.current, text, want)
		}
	}
	for _, n := range []int{h.current + 1, h.current - len(h.versions)} {
		if got := v.do(t, fmt.Sprintf("GET data/a?version=%d", n)); n > 0 && got != "404" {
			t.Fatalf("version %d of %d: %s", n, h.current, got)
		}
	}
}

// TestHistories makes random changes to secrets with many versions, and compares them with what they should be.
func TestHistories(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			v := newServer(t, memory.New(), "2")
			h := history{versions: map[int]*kept{}}
			keep := 10
			v.do(t, `PUT metadata/a {}`)
			for range 60 {
				switch r.IntN(7) {
				case 0:
					keep = []int{1, 5, 16, 31, 32, 33, 50, 200}[r.IntN(8)]
					v.do(t, fmt.Sprintf(`PUT metadata/a {"max_versions":%d}`, keep))
				case 1:
					h.compare(t, v)
				case 2, 3, 4:
					for range r.IntN(40) {
						data := fmt.Sprintf(`{"n":"%d-%s"}`, h.current+1, strings.Repeat("x", r.IntN(4)*r.IntN(300)))
						v.do(t, fmt.Sprintf(`PUT data/a {"data":%s}`, data))
						h.write(data, keep)
					}
				default:
					change(t, r, v, &h)
				}
			}
			h.compare(t, v)
			// Nothing is left that the secret does not need: a key for the record, each page, and each large version.
			for _, key := range contents(t, v.storage) {
				var n int
				if _, err := fmt.Sscanf(key, "version/%d/a", &n); err == nil && (h.versions[n] == nil || h.versions[n].destroyed) {
					t.Errorf("%s is left", key)
				}
				if _, err := fmt.Sscanf(key, "page/%d/a", &n); err == nil && (n+1)*16 <= h.current-len(h.versions) {
					t.Errorf("%s is left", key)
				}
			}
			if got := v.do(t, `DELETE metadata/a`); got != "204" || len(contents(t, v.storage)) > 0 {
				t.Errorf("%s; left are %q", got, contents(t, v.storage))
			}
		})
	}
}

// change deletes, undeletes or destroys some versions.
func change(t *testing.T, r *rand.Rand, v *server, h *history) {
	t.Helper()
	operation := []string{"delete", "undelete", "destroy"}[r.IntN(3)]
	numbers := make([]int, 1+r.IntN(5))
	for i := range numbers {
		numbers[i] = max(1, h.current-r.IntN(100))
		if k := h.versions[numbers[i]]; k != nil {
			switch {
			case operation == "destroy":
				k.destroyed = true
			case !k.destroyed:
				k.deleted = operation == "delete"
			}
		}
	}
	list, err := json.Marshal(numbers)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.do(t, fmt.Sprintf(`PUT %s/a {"versions":%s}`, operation, list)); got != "204" {
		t.Fatalf("%s %s: %s", operation, list, got)
	}
}

// counted counts what a store is asked for.
type counted struct {
	storage.Storage
	gets, ops, bytes int
}

func (c *counted) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := c.Storage.Get(ctx, key)
	c.gets++
	c.bytes += len(value)
	return value, err
}

func (c *counted) Apply(ctx context.Context, batch ...storage.Op) error {
	c.ops += len(batch)
	for _, op := range batch {
		c.bytes += len(op.Value)
	}
	return c.Storage.Apply(ctx, batch...)
}

// TestCostDoesNotGrowWithVersions compares what is read and written for 160 writes of a secret with few versions and
// with many, and for a read.
func TestCostDoesNotGrowWithVersions(t *testing.T) {
	for _, keep := range []int{100, 10_000} {
		c := &counted{Storage: memory.New()}
		v := newServer(t, c, "2")
		v.do(t, fmt.Sprintf(`PUT metadata/a {"max_versions":%d}`, keep))
		write := func(n int) counted {
			c.gets, c.ops, c.bytes = 0, 0, 0
			for range n {
				v.do(t, `PUT data/a {"data":{"password":"0123456789","username":"admin"}}`)
			}
			return *c
		}
		write(400)
		few := write(160)
		write(1600)
		many := write(160)
		if many.gets > few.gets || many.ops > few.ops || many.bytes > few.bytes*102/100 {
			t.Errorf("kept %d: 160 writes: %d gets, %d ops, %d bytes; before %d, %d, %d",
				keep, many.gets, many.ops, many.bytes, few.gets, few.ops, few.bytes)
		}
		c.gets, c.bytes = 0, 0
		if v.do(t, `GET data/a`); c.gets != 1 || c.bytes > 4<<10 {
			t.Errorf("a read: %d gets, %d bytes", c.gets, c.bytes)
		}
	}
}

// TestFewVersionsAreOneRecord counts the operations of a small secret with the versions that are kept unless somebody
// says otherwise.
func TestFewVersionsAreOneRecord(t *testing.T) {
	c := &counted{Storage: memory.New()}
	v := newServer(t, c, "2")
	v.do(t, `PUT metadata/a {"max_versions":31}`)
	for range 100 {
		c.gets, c.ops = 0, 0
		v.do(t, `PUT data/a {"data":{"password":"0123456789","username":"admin"}}`)
		if c.gets > 2 || c.ops != 1 { // one of the Gets asks whether it is there
			t.Fatalf("%d gets, %d ops", c.gets, c.ops)
		}
	}
	if got := contents(t, c); !slices.Equal(got, []string{"entry/a"}) {
		t.Errorf("keys %q", got)
	}
}

// TestHistoryFaults makes each call fail while versions go into pages and out of them: a secret is then what it was
// before or after a request, and goes on.
func TestHistoryFaults(t *testing.T) {
	open := func(t *testing.T) storage.Storage {
		s := memory.New()
		v := newServer(t, s, "2")
		v.do(t, `PUT metadata/a {"max_versions":40}`)
		for n := range 46 {
			v.do(t, fmt.Sprintf(`PUT data/a {"data":{"n":"%d."}}`, n+1))
		}
		return s
	}
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		v := newServer(t, base, "2")
		f := newServer(t, base, "2")
		router, err := mount(t.Context(), faulty, "2", func() time.Time { return f.now })
		if err != nil {
			return // the fault was in making the engine
		}
		f.router = router
		for n := range 4 {
			f.do(t, fmt.Sprintf(`PUT data/a {"data":{"n":"%d."}}`, n+47))
		}
		f.do(t, `PUT destroy/a {"versions":[12,40]}`)
		f.do(t, `PUT metadata/a {"max_versions":33}`)
		f.do(t, `PUT data/a {"data":{"n":"51."}}`)
		faulty.Heal()
		m := v.metadata(t, "a")
		for text := range m.Versions {
			got := v.do(t, "GET data/a?version="+text)
			if gone := m.Versions[text].Destroyed; got[:3] != "200" && !gone || got[:3] != "404" && gone {
				t.Errorf("version %s: %s", text, got)
			}
		}
		if got := v.do(t, `DELETE metadata/a`); got != "204" || len(contents(t, base)) > 0 {
			t.Errorf("%s; left are %q", got, contents(t, base))
		}
	})
}

// TestDamagedPage damages a page: the versions in it are an error that names its key, all others are served, and the
// secret can be written and removed.
func TestDamagedPage(t *testing.T) {
	for name, damage := range map[string]storage.Op{
		"overwritten": storage.Put("page/1/a", []byte{1, 2, 3}),
		"removed":     storage.Delete("page/1/a"),
	} {
		t.Run(name, func(t *testing.T) {
			v := newServer(t, memory.New(), "2")
			v.do(t, `PUT metadata/a {"max_versions":90}`)
			write := func() string { return v.do(t, `PUT data/a {"data":{"v":"`+strings.Repeat("x", 300)+`"}}`) }
			for range 90 {
				write()
			}
			if err := v.storage.Apply(t.Context(), damage); err != nil {
				t.Fatal(err)
			}
			for line, want := range map[string]string{
				`GET data/a`: "200", `GET data/a?version=16`: "200", `GET data/a?version=33`: "200",
				`GET data/a?version=17`:           "500 internal: kv: damaged record: page/1/a",
				`GET metadata/a`:                  "500 internal: kv: damaged record: page/1/a",
				`PUT delete/a {"versions":[17]}`:  "500 internal: kv: damaged record: page/1/a",
				`PUT destroy/a {"versions":[18]}`: "500 internal: kv: damaged record: page/1/a",
			} {
				if got := v.do(t, line); !strings.HasPrefix(got, want) {
					t.Errorf("%s: %.100s; want %s", line, got, want)
				}
			}
			for n := range 20 {
				if got := write(); got[:3] != "200" {
					t.Fatalf("write %d: %s", n, got)
				}
			}
			// The damaged page is behind version 17 to 32, of which 17 to 20 were removed.
			for range 12 {
				write()
			}
			if m := v.metadata(t, "a"); len(m.Versions) != 90 || m.Oldest != 33 {
				t.Errorf("%d versions from %d on", len(m.Versions), m.Oldest)
			}
			v.do(t, `DELETE metadata/a`)
			if left := contents(t, v.storage); len(left) > 0 {
				t.Errorf("left are %q", left)
			}
		})
	}
}

// TestLaterFormat refuses records of a form that is not known here, by a name of their own.
func TestLaterFormat(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	if err := v.storage.Apply(t.Context(), storage.Put("entry/a", []byte{3, 1, 1})); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`GET data/a`, `GET data/a?version=1`, `GET metadata/a`, `PUT data/a {"data":{}}`} {
		if got := v.do(t, line); got != "500 internal: kv: the record was written by a later coffer: entry/a" {
			t.Errorf("%s: %s", line, got)
		}
	}
}

// TestHistoriesArePaidFor asks for what is made of a secret with many versions: its metadata, changes of all of them, and
// their removal.
func TestHistoriesArePaidFor(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	const versions = 2000
	v.do(t, fmt.Sprintf(`PUT metadata/a {"max_versions":%d}`, versions))
	for range versions {
		v.do(t, `PUT data/a {"data":{"password":"0123456789","username":"admin"}}`)
	}
	all := make([]any, versions)
	for i := range all {
		all[i] = json.Number(fmt.Sprint(i + 1))
	}
	for _, step := range []struct {
		method, path string
		params       map[string]any
		least        int // bytes for each version
	}{
		{"GET", "metadata/a", nil, 200}, {"PUT", "delete/a", map[string]any{"versions": all}, 150},
		{"PUT", "destroy/a", map[string]any{"versions": all}, 150}, {"DELETE", "metadata/a", nil, 50},
	} {
		var p purse
		ctx := context.WithValue(t.Context(), storage.BudgetKey{}, storage.Budget(&p))
		resp, err := v.request(ctx, step.method, step.path, step.params)
		if err != nil {
			t.Fatal(err)
		}
		text := answer(resp, nil)
		if p.spent < step.least*versions || p.spent < len(text) {
			t.Errorf("%s %s paid for %d bytes, the answer has %d", step.method, step.path, p.spent, len(text))
		}
	}
	if left := contents(t, v.storage); len(left) > 0 {
		t.Errorf("left are %d keys", len(left))
	}
}

// TestRemovedDataIsGone looks for the data of versions that were destroyed or are too many in all that is stored.
func TestRemovedDataIsGone(t *testing.T) {
	v := newServer(t, memory.New(), "2")
	v.do(t, `PUT metadata/a {"max_versions":40}`)
	for n := range 70 {
		v.do(t, fmt.Sprintf(`PUT data/a {"data":{"v":"canary-%d."}}`, n+1))
		if n == 50 {
			v.do(t, `PUT destroy/a {"versions":[33,45]}`)
		}
	}
	stored := map[int]bool{}
	for _, key := range contents(t, v.storage) {
		value, err := v.storage.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 71 {
			stored[n] = stored[n] || strings.Contains(string(value), fmt.Sprintf("canary-%d.", n))
		}
	}
	for n := 1; n <= 70; n++ {
		if want := n > 30 && n != 33 && n != 45; stored[n] != want {
			t.Errorf("data of version %d is stored: %v", n, stored[n])
		}
	}
}
