package token

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"coffer/storage"
	"coffer/storage/jobs"
)

// A token with many children ends in the background. Its mark is stored first: from then on neither the token nor what
// hangs on it is good any more, and the next start goes on with what is left.
const (
	// treeFolder has the marks of tokens that end with all that hangs on them, orphansFolder those of tokens whose
	// children live on.
	treeFolder    = root + "ending/tree/"    // + id
	orphansFolder = root + "ending/orphans/" // + id
)

// errMany says that a revocation takes more than one commit.
var errMany = errors.New("token: too many children for one commit")

// trees are the tokens that end in the background.
type trees struct {
	jobs *jobs.Set
	// changing is held while marks is replaced; a map in it is never changed.
	changing sync.Mutex
	// marks are the keys of the marks.
	marks atomic.Pointer[map[string]struct{}]
}

func (t *trees) init(background func(func(context.Context)), log *slog.Logger) {
	t.jobs = jobs.New(background, log)
	t.marks.Store(&map[string]struct{}{})
}

func (t *trees) any() bool { return len(*t.marks.Load()) > 0 }

// ends reports whether what hangs on a token ends.
func (t *trees) ends(id string) bool {
	_, ok := (*t.marks.Load())[treeFolder+id]
	return ok
}

// set notes that there is a mark, or that there is none any more. It reports whether that is news.
func (t *trees) set(mark string, there bool) (changed bool) {
	t.changing.Lock()
	defer t.changing.Unlock()
	now := *t.marks.Load()
	if _, ok := now[mark]; ok == there {
		return false
	}
	next := maps.Clone(now)
	if there {
		next[mark] = struct{}{}
	} else {
		delete(next, mark)
	}
	t.marks.Store(&next)
	return true
}

// loadTrees reads which tokens were about to end when the server stopped.
func (s *Store) loadTrees(ctx context.Context) error {
	for _, folder := range [...]string{treeFolder, orphansFolder} {
		err := s.each(ctx, folder, func(id string) error {
			s.doom(folder, id)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FinishRevocations ends, in the background, the tokens that were about to end when the server stopped.
func (s *Store) FinishRevocations() {
	for mark := range *s.trees.marks.Load() {
		at := strings.LastIndexByte(mark, '/') + 1
		s.finishLater(mark[:at], mark[at:])
	}
}

// doom makes a token with a mark, and with treeFolder what hangs on it, useless until absolve.
func (s *Store) doom(folder, id string) {
	if s.trees.set(folder+id, true) {
		s.ending.add(id)
	}
}

// absolve ends doom: the token is gone.
func (s *Store) absolve(folder, id string) {
	if s.trees.set(folder+id, false) {
		s.ending.remove([]string{id})
	}
}

// endMany ends a token that has too many children for one commit, which is what errMany says; any other error it
// returns. Once the mark is stored the work goes on whether the caller waits or not.
func (s *Store) endMany(ctx context.Context, folder, id string, why error) error {
	if !errors.Is(why, errMany) {
		return why
	}
	if err := s.cfg.Storage.Apply(ctx, storage.Put(folder+id, nil)); err != nil {
		return err
	}
	s.doom(folder, id)
	return jobs.Wait(ctx, s.finishLater(folder, id))
}

func (s *Store) finishLater(folder, id string) <-chan error {
	return s.trees.jobs.Begin(folder+id, func(ctx context.Context) error { return s.finish(ctx, folder, id) })
}

// finish ends a token that has a mark, which goes with the last commit.
func (s *Store) finish(ctx context.Context, folder, id string) error {
	r := &revocation{store: s, begun: make(map[string]struct{})}
	defer r.release()
	r.begin(id)
	if folder == orphansFolder {
		if err := r.adopt(ctx, id, 0); err != nil {
			return err
		}
	}
	if err := r.tree(ctx, id); err != nil {
		return err
	}
	r.ops = append(r.ops, storage.Delete(folder+id))
	if err := r.flush(ctx); err != nil {
		return err
	}
	s.absolve(folder, id)
	return nil
}
