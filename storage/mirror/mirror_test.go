package mirror_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/mirror"
	"coffer/storage/storagetest"
)

// names is a store of nothing but names.
type names struct {
	*mirror.Mirror
	of map[string]string
}

const folder = "n/"

func open(ctx context.Context, s storage.Storage) (*names, error) {
	n := &names{}
	var err error
	n.Mirror, err = mirror.New(ctx, s, func(ctx context.Context) (func(), error) {
		read := map[string]string{}
		err := storage.Each(ctx, s, folder, func(name string, value []byte) error {
			read[name] = string(value)
			return nil
		}, func(string) {})
		return func() { n.of = read }, err
	})
	return n, err
}

func (n *names) put(ctx context.Context, name, value string) error {
	return n.Change(ctx, func() ([]storage.Op, func(), error) {
		return []storage.Op{storage.Put(folder+name, []byte(value))}, func() { n.of[name] = value }, nil
	})
}

func (n *names) all(ctx context.Context) (all map[string]string, err error) {
	err = n.View(ctx, func() { all = maps.Clone(n.of) })
	return all, err
}

// TestMemoryIsWhatIsStored lets each call to storage fail in each form: what is told afterwards is what is stored.
func TestMemoryIsWhatIsStored(t *testing.T) {
	empty := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, empty, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		n, err := open(t.Context(), faulty)
		if err == nil {
			err = n.put(t.Context(), "a", "1")
			err = errors.Join(err, n.put(t.Context(), "b", "2"), n.put(t.Context(), "a", "3"))
		}
		told, viewErr := n.all(t.Context())
		if viewErr != nil {
			told, viewErr = n.all(t.Context()) // the fault is over
		}
		stored, openErr := open(t.Context(), base)
		if viewErr != nil || openErr != nil {
			t.Fatal(viewErr, openErr)
		}
		if !maps.Equal(told, stored.of) {
			t.Errorf("told %v, stored %v", told, stored.of)
		}
		if err == nil && !maps.Equal(told, map[string]string{"a": "3", "b": "2"}) {
			t.Errorf("told %v after three changes without an error", told)
		}
	})
}

func TestChangeThatIsNone(t *testing.T) {
	n, err := open(t.Context(), memory.New())
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for _, want := range []error{nil, refused} {
		err := n.Change(t.Context(), func() ([]storage.Op, func(), error) {
			return nil, func() { t.Error("done though nothing was committed") }, want
		})
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
