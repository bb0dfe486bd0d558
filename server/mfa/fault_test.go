package mfa

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp"

	"coffer/storage"
	"coffer/storage/memory"
	"coffer/storage/storagetest"
)

// TestFaults makes every call to storage fail in every form, and checks that what was answered holds after a
// restart, that a code lets in once at most, and that no secret outlives its method.
func TestFaults(t *testing.T) {
	open := func(*testing.T) storage.Storage { return memory.New() }
	storagetest.EachFault(t, open, func(t *testing.T, base storage.Storage, faulty *storagetest.Faulty) {
		synctest.Test(t, func(t *testing.T) {
			s, err := New(t.Context(), config(faulty))
			if err != nil {
				return // it does not open, and an operator unseals again
			}
			p := standard()
			id, err := s.writeMethod(t.Context(), "", &p)
			if err != nil {
				return
			}
			f := &faultRun{t: t, base: base, s: s, id: id}
			f.enforce()
			f.logIn()
			f.remove()
		})
	})
}

func config(store storage.Storage) Config {
	return Config{Storage: store, Identities: everybody{}, Mounts: everybody{}, Now: time.Now, Wall: time.Now,
		Logger: slog.New(slog.DiscardHandler)}
}

type faultRun struct {
	t    *testing.T
	base storage.Storage
	s    *Store
	id   string
}

// reopened is the store as a restart finds it.
func (f *faultRun) reopened() *Store {
	f.t.Helper()
	s, err := New(f.t.Context(), config(f.base))
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// enforce writes an enforcement and checks that the store tells what a restart would.
func (f *faultRun) enforce() {
	f.t.Helper()
	methods, entities := []string{f.id}, []string{"ann"}
	p := enforcementParams{nameParams: nameParams{"e"}, Methods: &methods, Entities: &entities}
	_, wroteErr := f.s.writeEnforcement(f.t.Context(), nil, p)
	d, err := f.s.DemandOf(f.t.Context(), Subject{EntityID: "ann"})
	if err != nil {
		return // the fault: nobody is let in
	}
	after, err := f.reopened().DemandOf(f.t.Context(), Subject{EntityID: "ann"})
	if err != nil {
		f.t.Fatal(err)
	}
	if (d == nil) != (after == nil) || (wroteErr == nil && d == nil) {
		f.t.Errorf("written: %v; asked for now: %v, after a restart: %v", wroteErr, d != nil, after != nil)
	}
}

// logIn tries one code twice, and once more after a restart.
func (f *faultRun) logIn() {
	f.t.Helper()
	resp, err := f.s.makeSecret(f.t.Context(), f.id, "ann")
	if err != nil {
		return // shown to nobody; admin-destroy makes room for another
	}
	url, ok := resp.Data["url"].(string)
	if !ok {
		f.t.Fatalf("no URL: %+v", resp)
	}
	key, err := otp.NewKeyFromURL(url)
	if err != nil {
		f.t.Fatal(err)
	}
	d := &Demand{[]*enforcement{{Name: "e", Methods: []string{f.id}}}}
	now, in := code(f.t, key, time.Now()), 0
	for _, s := range []*Store{f.s, f.s, f.reopened(), f.reopened()} {
		if s.Satisfy(f.t.Context(), d, "ann", Factors{f.id: {now}}) == nil {
			in++
		}
	}
	if in > 1 {
		f.t.Errorf("one code let in %d times", in)
	}
	time.Sleep(time.Minute)
	if err := f.reopened().Satisfy(f.t.Context(), d, "ann", Factors{f.id: {code(f.t, key, time.Now())}}); err != nil {
		f.t.Errorf("a secret that was shown is worth nothing: %v", err)
	}
}

// remove deletes everything and checks that it is gone, or still there whole.
func (f *faultRun) remove() {
	f.t.Helper()
	ctx := f.t.Context()
	_, err := f.s.deleteEnforcement(ctx, nil, nameParams{"e"})
	if err == nil {
		_, err = f.s.deleteMethod(ctx, nil, idParams{f.id})
	}
	again := f.reopened()
	if err == nil && len(again.methods)+len(again.enforcements) > 0 {
		f.t.Error("what was deleted is back after a restart")
	}
	secrets, listErr := f.base.List(ctx, secretFolder, "", 0)
	if listErr != nil {
		f.t.Fatal(listErr)
	}
	if again.methods[f.id] == nil && len(secrets) > 0 {
		f.t.Errorf("secrets of a deleted method: %v", secrets)
	}
	var live []string
	if err := f.s.view(ctx, func() { live = names(f.s) }); err != nil {
		return
	}
	if diff := cmp.Diff(names(again), live); diff != "" {
		f.t.Errorf("-after a restart +now\n%s", diff)
	}
}

func names(s *Store) []string {
	list := []string{}
	for id := range s.methods {
		list = append(list, id)
	}
	for name := range s.enforcements {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// meanwhile does something after a secret was read.
type meanwhile struct {
	storage.Storage

	do func()
}

func (m *meanwhile) Get(ctx context.Context, key string) ([]byte, error) {
	b, err := m.Storage.Get(ctx, key)
	if do := m.do; strings.HasPrefix(key, secretFolder) && err == nil && do != nil {
		m.do = nil
		do()
	}
	return b, err
}

func TestASecretDoesNotComeBackAfterItsMethod(t *testing.T) {
	store := memory.New()
	hook := &meanwhile{Storage: store}
	s, err := New(t.Context(), config(hook))
	if err != nil {
		t.Fatal(err)
	}
	d, id, keys := enrol(t, s, standard(), "ann")
	hook.do = func() {
		if _, err := s.deleteMethod(t.Context(), nil, idParams{id}); err != nil {
			t.Error(err)
		}
	}
	if s.try(t, d, "ann", code(t, keys[0], time.Now())) == "" {
		t.Error("a method that was deleted let somebody in")
	}
	if left, err := store.List(t.Context(), folder, "", 0); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
