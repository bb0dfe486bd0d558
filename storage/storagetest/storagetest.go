// Package storagetest is the conformance suite of the Storage contract, and a Storage that fails on order.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"coffer/storage"
)

// Run checks that the stores that open returns keep the contract of storage.Storage. Each call of open
// returns a new, empty store and registers its own clean-up. A store that is an io.Closer is also checked
// after Close.
func Run(t *testing.T, open func(t *testing.T) storage.Storage) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s storage.Storage)
	}{
		{"get returns what was put", testGet},
		{"list", testList},
		{"list pages give the whole", testPages},
		{"pages without an order give the whole", testUnordered},
		{"list of many folders", testManyFolders},
		{"operations of a batch take effect in order", testBatchOrder},
		{"a refused batch writes nothing", testRefusedBatch},
		{"an empty batch is no error", testEmptyBatch},
		{"slices have one owner", testOwnership},
		{"invalid keys", testInvalidKeys},
		{"invalid prefixes", testInvalidPrefixes},
		{"long keys", testLongKeys},
		{"large values", testLargeValues},
		{"budget", testBudget},
		{"cancelled context", testCancelled},
		{"concurrent batches are atomic", testConcurrentBatches},
		{"reads run beside writes", testConcurrentReads},
		{"closed store", testClosed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func apply(t *testing.T, s storage.Storage, batch ...storage.Op) {
	t.Helper()
	if err := s.Apply(t.Context(), batch...); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

func wantValue(t *testing.T, s storage.Storage, key, want string) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil || string(got) != want {
		t.Fatalf("Get(%.80q) = %.80q, %v; want %.80q", key, got, err, want)
	}
}

func wantMissing(t *testing.T, s storage.Storage, key string) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrNotFound) || got != nil {
		t.Fatalf("Get(%.80q) = %.80q, %v; want ErrNotFound", key, got, err)
	}
}

func wantList(t *testing.T, s storage.Storage, prefix, after string, limit int, want ...string) {
	t.Helper()
	got, err := s.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatalf("List(%q, %q, %d): %v", prefix, after, limit, err)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Fatalf("List(%q, %q, %d): -want +got\n%s", prefix, after, limit, diff)
	}
}

func testGet(t *testing.T, s storage.Storage) {
	wantMissing(t, s, "a")
	apply(t, s, storage.Put("a", []byte("1")), storage.Put("a/b", []byte("2")), storage.Put("a/b/c", nil),
		storage.Put("\x00 \xff\u00e9/.", []byte{0, 255}))
	wantValue(t, s, "a", "1")
	wantValue(t, s, "a/b", "2")
	wantValue(t, s, "a/b/c", "")
	wantValue(t, s, "\x00 \xff\u00e9/.", "\x00\xff")
	wantMissing(t, s, "A")
	wantMissing(t, s, "a/c")
	apply(t, s, storage.Put("a", []byte("3")), storage.Delete("a/b"), storage.Delete("never was"))
	wantValue(t, s, "a", "3")
	wantMissing(t, s, "a/b")
	wantValue(t, s, "a/b/c", "")
	apply(t, s, storage.Put("a/b/c", []byte("4")))
	wantValue(t, s, "a/b/c", "4")
}

func testList(t *testing.T, s storage.Storage) {
	wantList(t, s, "", "", 0)
	wantList(t, s, "none/", "", 0)
	for _, key := range []string{"x", "x/1", "x/2/3", "x-y", "x0", "x/2/4/5", "x/2", "w", "X/1", "\xff"} {
		apply(t, s, storage.Put(key, []byte("v")))
	}
	// "-" sorts before "/", which sorts before "0"; a key and a folder of the same name are two names.
	all := []string{"X/", "w", "x", "x-y", "x/", "x0", "\xff"}
	wantList(t, s, "", "", 0, all...)
	wantList(t, s, "x/", "", 0, "1", "2", "2/")
	wantList(t, s, "x/2/", "", 0, "3", "4/")
	wantList(t, s, "x/2/3/", "", 0)
	wantList(t, s, "w/", "", 0)
	wantList(t, s, "", "", 2, "X/", "w")
	wantList(t, s, "", "", 100, all...)
	wantList(t, s, "", "w", 0, "x", "x-y", "x/", "x0", "\xff")
	wantList(t, s, "", "x", 2, "x-y", "x/")
	wantList(t, s, "", "x/", 1, "x0")
	wantList(t, s, "", "x/1", 0, "x0", "\xff")
	wantList(t, s, "", "x.", 0, "x/", "x0", "\xff")
	wantList(t, s, "", "nothing of that name", 1, "w")
	wantList(t, s, "", "\xff", 0)
	wantList(t, s, "x/", "2", 0, "2/")
	wantList(t, s, "x/", "2/", 0)
	apply(t, s, storage.Delete("x/2/3"))
	wantList(t, s, "x/2/", "", 0, "4/")
	apply(t, s, storage.Delete("x/2/4/5"))
	wantList(t, s, "x/", "", 0, "1", "2")
	apply(t, s, storage.Delete("x/1"), storage.Delete("x/2"))
	wantList(t, s, "x/", "", 0)
	wantList(t, s, "", "", 0, "X/", "w", "x", "x-y", "x0", "\xff")
}

func testPages(t *testing.T, s storage.Storage) {
	var want []string
	var batch []storage.Op
	for i := range 1000 {
		name := fmt.Sprintf("n%d", i*7919%1000)
		key := "folder/" + name
		if i%3 == 0 {
			name += "/"
			key += "/below"
		}
		want = append(want, name)
		batch = append(batch, storage.Put(key, []byte(name)))
	}
	batch = append(batch, storage.Put("folder", nil), storage.Put("folder-", nil), storage.Put("folder0", nil))
	apply(t, s, batch...)
	slices.Sort(want)
	for _, limit := range []int{1, 7, 999, 1000, 1001, 0} {
		var got []string
		for after := ""; ; {
			page, err := s.List(t.Context(), "folder/", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(page) > limit {
				t.Fatalf("a page of %d names, the limit is %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			if page[0] <= after {
				t.Fatalf("the page after %q begins with %q", after, page[0])
			}
			got = append(got, page...)
			after = page[len(page)-1]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("limit %d: -want +got\n%s", limit, diff)
		}
	}
}

func testManyFolders(t *testing.T, s storage.Storage) {
	for i := range 30 {
		var batch []storage.Op
		for j := range 40 {
			batch = append(batch, storage.Put(fmt.Sprintf("f%02d/%02d", i, j), []byte("v")))
		}
		apply(t, s, batch...)
	}
	names, err := s.List(t.Context(), "", "f04/", 3)
	if diff := cmp.Diff([]string{"f05/", "f06/", "f07/"}, names); err != nil || diff != "" {
		t.Fatalf("%v: -want +got\n%s", err, diff)
	}
	for i := range 30 {
		names, err := s.List(t.Context(), fmt.Sprintf("f%02d/", i), "", 0)
		if err != nil || len(names) != 40 {
			t.Fatalf("folder %d has %d names, %v; want 40", i, len(names), err)
		}
	}
}

func testBatchOrder(t *testing.T, s storage.Storage) {
	apply(t, s, storage.Put("k", []byte("old")))
	apply(t, s, storage.Put("k", []byte("1")), storage.Put("k", []byte("2")))
	wantValue(t, s, "k", "2")
	apply(t, s, storage.Put("k", []byte("3")), storage.Delete("k"))
	wantMissing(t, s, "k")
	apply(t, s, storage.Delete("k"), storage.Put("k", []byte("4")), storage.Put("other", nil))
	wantValue(t, s, "k", "4")
	apply(t, s, storage.Delete("k"), storage.Delete("k"))
	wantMissing(t, s, "k")
	wantList(t, s, "", "", 0, "other")
}

func testRefusedBatch(t *testing.T, s storage.Storage) {
	apply(t, s, storage.Put("kept", []byte("v")))
	for _, bad := range []storage.Op{storage.Put("", nil), storage.Delete("a//b"), storage.Put("a/", []byte("v"))} {
		err := s.Apply(t.Context(), storage.Put("new", []byte("v")), storage.Delete("kept"), bad)
		if !errors.Is(err, storage.ErrInvalidKey) {
			t.Fatalf("Apply with the key %q: %v; want ErrInvalidKey", bad.Key, err)
		}
	}
	wantList(t, s, "", "", 0, "kept")
	wantValue(t, s, "kept", "v")
}

func testEmptyBatch(t *testing.T, s storage.Storage) {
	apply(t, s)
	wantList(t, s, "", "", 0)
}

func testOwnership(t *testing.T, s storage.Storage) {
	value := []byte("value")
	apply(t, s, storage.Put("k", value), storage.Put("list/a", value), storage.Put("list/b", value))
	clear(value)
	wantValue(t, s, "k", "value")
	got, err := s.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantValue(t, s, "k", "value")
	names, err := s.List(t.Context(), "list/", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	clear(names)
	wantList(t, s, "list/", "", 0, "a", "b")
}

func testInvalidKeys(t *testing.T, s storage.Storage) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", "//", "a/b/", strings.Repeat("k", storage.MaxKeySize+1),
	} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("Get(%.20q): %v; want ErrInvalidKey", key, err)
		}
		if err := s.Apply(t.Context(), storage.Put(key, []byte("v"))); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("Apply(Put(%.20q)): %v; want ErrInvalidKey", key, err)
		}
		if err := s.Apply(t.Context(), storage.Delete(key)); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("Apply(Delete(%.20q)): %v; want ErrInvalidKey", key, err)
		}
	}
	wantList(t, s, "", "", 0)
}

func testInvalidPrefixes(t *testing.T, s storage.Storage) {
	apply(t, s, storage.Put("a/b/c", nil))
	for _, prefix := range []string{"/", "a", "a/b", "//", "/a/", "a//", "a//b/"} {
		if names, err := s.List(t.Context(), prefix, "", 0); !errors.Is(err, storage.ErrInvalidKey) {
			t.Errorf("List(%q) = %q, %v; want ErrInvalidKey", prefix, names, err)
		}
	}
}

func testLongKeys(t *testing.T, s storage.Storage) {
	name := strings.Repeat("n", storage.MinMaxKeySize)
	deep := strings.Repeat("d/", storage.MinMaxKeySize/2-1) + "de"
	if len(deep) != storage.MinMaxKeySize {
		t.Fatalf("the deep key has %d bytes", len(deep))
	}
	apply(t, s, storage.Put(name, []byte("name")), storage.Put(deep, []byte("deep")))
	wantValue(t, s, name, "name")
	wantValue(t, s, deep, "deep")
	wantList(t, s, "", "", 0, "d/", name)
	wantList(t, s, strings.TrimSuffix(deep, "de"), "", 0, "de")
}

func testLargeValues(t *testing.T, s storage.Storage) {
	large := strings.Repeat("large", 1<<18)
	apply(t, s, storage.Put("large", []byte(large)), storage.Put("small", []byte("v")))
	wantValue(t, s, "large", large)
	apply(t, s, storage.Put("large", []byte("now small")))
	wantValue(t, s, "large", "now small")
	err := s.Apply(t.Context(), storage.Delete("small"), storage.Put("l", make([]byte, storage.MaxValueSize+1)))
	if !errors.Is(err, storage.ErrValueTooLarge) {
		t.Errorf("Apply of a value over MaxValueSize: %v; want ErrValueTooLarge", err)
	}
	wantValue(t, s, "small", "v")
}

// budget notes what it is asked for, and answers with err.
type budget struct {
	spent []int
	err   error
}

// Spend implements storage.Budget.
func (b *budget) Spend(_ context.Context, n int) error {
	b.spent = append(b.spent, n)
	return b.err
}

func testBudget(t *testing.T, s storage.Storage) {
	large := strings.Repeat("large", 1<<18)
	apply(t, s, storage.Put("large", []byte(large)), storage.Put("small", []byte("v")))
	var b budget
	ctx := context.WithValue(t.Context(), storage.BudgetKey{}, storage.Budget(&b))
	for _, key := range []string{"small", "large", "missing"} {
		if _, err := s.Get(ctx, key); err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if len(b.spent) != 1 || b.spent[0] < len(large) {
		t.Errorf("asked for %v, want once for %d or a little more", b.spent, len(large))
	}
	b.err = errors.New("no room")
	if _, err := s.Get(ctx, "large"); !errors.Is(err, b.err) {
		t.Errorf("Get without room: %v", err)
	}
	if _, err := s.Get(ctx, "small"); err != nil {
		t.Errorf("Get of a small value without room: %v", err)
	}
	wantValue(t, s, "large", large)
	b = budget{}
	var many []storage.Op
	for i := range 1000 {
		many = append(many, storage.Put(fmt.Sprintf("folder/%0100d", i), nil))
	}
	apply(t, s, many...)
	names, err := s.List(ctx, "folder/", "", 0)
	if err != nil || len(names) != 1000 || len(b.spent) != 1 || b.spent[0] < 100_000 {
		t.Errorf("a long list: %d names, %v, asked for %v", len(names), err, b.spent)
	}
	b.err = errors.New("no room")
	if _, err := s.List(ctx, "folder/", "", 0); !errors.Is(err, b.err) {
		t.Errorf("List without room: %v", err)
	}
}

func testCancelled(t *testing.T, s storage.Storage) {
	apply(t, s, storage.Put("k", []byte("v")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v; want context.Canceled", err)
	}
	if _, err := s.List(ctx, "", "", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v; want context.Canceled", err)
	}
	if err := s.Apply(ctx, storage.Delete("k")); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: %v; want context.Canceled", err)
	}
	wantValue(t, s, "k", "v")
}

func testConcurrentBatches(t *testing.T, s storage.Storage) {
	const writers, rounds = 8, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for r := range rounds {
				v := fmt.Appendf(nil, "%d/%d", w, r)
				own := fmt.Sprintf("own/%d/%d", w, r)
				batch := []storage.Op{storage.Put("x", v), storage.Put(own, v), storage.Put("y", v)}
				if r > 0 {
					batch = append(batch, storage.Delete(fmt.Sprintf("own/%d/%d", w, r-1)))
				}
				if err := s.Apply(t.Context(), batch...); err != nil {
					t.Errorf("Apply: %v", err)
					return
				}
				// What Apply reported is there for the next Get.
				if got, err := s.Get(t.Context(), own); err != nil || string(got) != string(v) {
					t.Errorf("Get(%q) after its Apply = %q, %v; want %q", own, got, err, v)
				}
			}
		})
	}
	wg.Wait()
	x, err := s.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "y", string(x))
	for w := range writers {
		wantList(t, s, fmt.Sprintf("own/%d/", w), "", 0, fmt.Sprint(rounds-1))
	}
}

func testConcurrentReads(t *testing.T, s storage.Storage) {
	var batch []storage.Op
	for i := range 100 {
		batch = append(batch, storage.Put(fmt.Sprintf("f/%02d", i), fmt.Appendf(nil, "value %02d", i)))
	}
	apply(t, s, batch...)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key, want := fmt.Sprintf("f/%02d", i%100), fmt.Sprintf("value %02d", i%100)
				if got, err := s.Get(t.Context(), key); err != nil || string(got) != want {
					t.Errorf("Get(%q) = %q, %v; want %q", key, got, err, want)
					return
				}
				if names, err := s.List(t.Context(), "f/", "", 0); err != nil || len(names) != 100 {
					t.Errorf("List: %d names, %v; want 100", len(names), err)
					return
				}
			}
		})
	}
	for i := range 100 {
		// A key of the folder is replaced in one batch: no List may see it missing.
		key := fmt.Sprintf("f/%02d", i)
		apply(t, s, storage.Delete(key), storage.Put(key, fmt.Appendf(nil, "value %02d", i)),
			storage.Put(fmt.Sprintf("other/%d", i), make([]byte, 5000)))
	}
	close(stop)
	readers.Wait()
}

func testClosed(t *testing.T, s storage.Storage) {
	closer, ok := s.(io.Closer)
	if !ok {
		return
	}
	apply(t, s, storage.Put("k", []byte("v")))
	for range 2 {
		if err := closer.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, storage.ErrClosed) {
			t.Errorf("Get: %v; want ErrClosed", err)
		}
		if _, err := s.List(t.Context(), "", "", 0); !errors.Is(err, storage.ErrClosed) {
			t.Errorf("List: %v; want ErrClosed", err)
		}
		if err := s.Apply(t.Context(), storage.Put("k", nil)); !errors.Is(err, storage.ErrClosed) {
			t.Errorf("Apply: %v; want ErrClosed", err)
		}
	}
}
