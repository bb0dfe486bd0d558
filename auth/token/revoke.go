package token

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"golang.org/x/sync/errgroup"

	"coffer/engines"
	"coffer/storage"
	"coffer/storage/keylock"
)

const (
	// revokeBatch is how many changes a revocation makes within its request: what takes more goes on in the background.
	revokeBatch = 512
	// manyBatch is how many changes one commit gathers there. Tokens lie at random places of the file, so a larger commit
	// writes fewer pages in all, and keeps others waiting for longer: here for less than a tenth of a second.
	manyBatch = 2048
	// childPage is how many children are listed at once.
	childPage = 256
	// cubbyholeBatch is how many keys of a cubbyhole go in the token's own commit; more go before it.
	cubbyholeBatch = 256
	// adoptions is how many children are made orphans at once; storage gathers their commits.
	adoptions = 64
)

// Revoke revokes a service token and all tokens made with it, and their children. An unknown token is not
// an error; a batch token is engines.ErrInvalid.
func (s *Store) Revoke(ctx context.Context, t engines.Token) error {
	if t.HasPrefix(batchPrefix) {
		if _, err := s.find(ctx, t); err == nil {
			return engines.Invalid("batch tokens cannot be revoked")
		}
		return nil
	}
	return s.RevokeID(ctx, s.keys.idOf(t))
}

// RevokeID is Revoke for the token with that Entry.ID.
func (s *Store) RevokeID(ctx context.Context, id string) error { return s.end(ctx, id, endOptions{}) }

// RevokeAccessor revokes the token with that accessor, if there is one.
func (s *Store) RevokeAccessor(ctx context.Context, accessor string) error {
	return s.RevokeID(ctx, s.keys.idOfAccessor(accessor))
}

// RevokeOrphan revokes a token and makes its children orphans. It returns ErrBadToken when there is no
// such token.
func (s *Store) RevokeOrphan(ctx context.Context, t engines.Token) error {
	e, err := s.find(ctx, t)
	if err != nil {
		return err
	}
	if e.Caller.Batch {
		return engines.Invalid("batch tokens cannot be revoked")
	}
	return s.end(ctx, e.ID, endOptions{orphans: true})
}

// endOptions are the variations of a revocation.
type endOptions struct {
	// orphans lets the children live.
	orphans bool
	// due may call it off; see RevokeLease.
	due func(context.Context) (bool, error)
	// take, when set, is called with the entry once nobody else can use the token; what it returns is
	// applied with the token's removal. Only one of any number of concurrent calls with take gets that
	// far, the others return ErrBadToken, and so does a call for a token that is gone or whose last use has begun.
	take func(context.Context, *Entry) (ops []storage.Op, done func(), err error)
}

// revocation gathers the changes of one revocation. Children come before their parents, so that a crash
// between two commits leaves nobody alive whose parent is gone.
type revocation struct {
	store *Store
	ops   []storage.Op
	done  []func()
	// ids are the tokens whose removal is in ops.
	ids []string
	// begun are the tokens that nobody can use any more and whose removal is not yet durable.
	begun map[string]struct{}
	// limit is how many changes are gathered before errMany says that it takes more; 0 for any number, with a commit in
	// between.
	limit int
}

// end revokes a token.
func (s *Store) end(ctx context.Context, id string, o endOptions) error {
	r := &revocation{store: s, begun: make(map[string]struct{})}
	defer r.release()
	first := r.begin(id)
	if o.due != nil {
		if ok, err := o.due(ctx); err != nil || !ok {
			return err
		}
	}
	if o.take != nil {
		if !first {
			return ErrBadToken
		}
		if err := r.take(ctx, id, o.take); err != nil {
			return err
		}
	}
	if o.orphans {
		if err := r.adopt(ctx, id, childPage); err != nil {
			return s.endMany(ctx, orphansFolder, id, err)
		}
	}
	if o.take == nil {
		r.limit = revokeBatch
	}
	if err := r.tree(ctx, id); err != nil {
		return s.endMany(ctx, treeFolder, id, err)
	}
	return r.flush(ctx)
}

// begin makes a token useless: from here on it cannot be used, renewed or have children.
func (r *revocation) begin(id string) (first bool) {
	defer r.store.locks.Hold(id)()
	r.begun[id] = struct{}{}
	r.store.cache.remove(id)
	return r.store.ending.add(id)
}

// release lets go of what was begun and not finished: those tokens live on.
func (r *revocation) release() {
	ids := make([]string, 0, len(r.begun))
	for id := range r.begun {
		ids = append(ids, id)
	}
	r.store.ending.remove(ids)
}

func (r *revocation) take(
	ctx context.Context, id string, take func(context.Context, *Entry) ([]storage.Op, func(), error),
) error {
	e, err := r.store.read(ctx, id)
	if err != nil {
		return err
	}
	if e.ended(r.store.now()) || e.Spent() {
		return ErrBadToken
	}
	ops, done, err := take(ctx, e)
	if err != nil {
		return err
	}
	r.ops = append(r.ops, ops...)
	if done != nil {
		r.done = append(r.done, done)
	}
	return nil
}

// tree removes the token and all below it, children first. What it gathered last is still to be committed.
func (r *revocation) tree(ctx context.Context, id string) error {
	stack := []*frame{{id: id}}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		child, err := top.next(ctx, r.store)
		if err != nil {
			return err
		}
		if child != "" {
			if _, circular := r.begun[child]; !circular {
				r.begin(child)
				stack = append(stack, &frame{id: child, parent: top.id})
			}
			continue
		}
		if err := r.remove(ctx, top.id, top.parent); err != nil {
			return err
		}
		stack = stack[:len(stack)-1]
		if r.limit > 0 && len(r.ops) > r.limit && len(stack) > 0 {
			return errMany
		}
		if r.limit == 0 && len(r.ops) >= manyBatch {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// frame is a token on the way down the tree, with the children that are still to be visited.
type frame struct {
	id, parent string
	children   []string
	mark       string // of the next page of children
	listed     bool   // there is no next page
}

// next returns a child that was not visited yet, "" when there is none. A child whose place cannot be read keeps nobody
// alive; Tidy finds it by its parent.
func (f *frame) next(ctx context.Context, s *Store) (string, error) {
	if len(f.children) == 0 && !f.listed {
		names, next, err := storage.Page(storage.LeaveOut(ctx), s.cfg.Storage, parentFolder+f.id+"/", f.mark,
			childPage)
		if err != nil {
			return "", err
		}
		f.children, f.mark, f.listed = names, next, next == ""
	}
	if len(f.children) == 0 {
		return "", nil
	}
	child := f.children[0]
	f.children = f.children[1:]
	return child, nil
}

// remove adds what is stored of one token to the batch. parent is where it was found, "" for the top.
func (r *revocation) remove(ctx context.Context, id, parent string) error {
	s := r.store
	r.ids = append(r.ids, id)
	if parent != "" {
		r.ops = append(r.ops, storage.Delete(parentKey(parent, id)))
	}
	e, err := s.read(ctx, id)
	leaseID := ""
	switch {
	case errors.Is(err, ErrBadToken):
		return nil
	case errors.Is(err, ErrCorrupt):
		s.log.Error("token record is unreadable and removed", slog.String("id", id))
	case err != nil:
		return err
	default:
		leaseID = e.LeaseID()
		if e.Parent != "" && e.Parent != parent {
			r.ops = append(r.ops, storage.Delete(parentKey(e.Parent, id)))
		}
	}
	r.ops = append(r.ops, storage.Delete(entryKey(id)))
	if e == nil || e.endless() || e.Caller.Root { // a root token may have got its end later
		r.ops = append(r.ops, storage.Delete(endlessKey(id)))
	}
	ops, done, err := s.cfg.Leases.RemoveToken(ctx, leaseID, id)
	if err != nil {
		return err
	}
	r.ops, r.done = append(r.ops, ops...), append(r.done, done)
	return r.removeCubbyhole(ctx, id)
}

// removeCubbyhole adds the token's cubbyhole to the batch, or clears it at once when it is large or has names that
// cannot be read: nobody can reach it any more.
func (r *revocation) removeCubbyhole(ctx context.Context, id string) error {
	s := r.store
	keys, err := below(ctx, s.cfg.Storage, s.cubbyhole(id), cubbyholeBatch+1)
	unnamed := errors.Is(err, storage.ErrDamaged)
	if err != nil && !unnamed {
		return err
	}
	if unnamed || len(keys) > cubbyholeBatch {
		return storage.Clear(ctx, s.cfg.Storage, s.cubbyhole(id))
	}
	for _, key := range keys {
		r.ops = append(r.ops, storage.Delete(key))
	}
	return nil
}

// below returns the keys below a folder, at most limit of them and any that many.
func below(ctx context.Context, store storage.Storage, folder string, limit int) (keys []string, err error) {
	names, _, err := storage.Page(ctx, store, folder, "", limit)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if len(keys) >= limit {
			break
		}
		if !strings.HasSuffix(name, "/") {
			keys = append(keys, folder+name)
			continue
		}
		deeper, err := below(ctx, store, folder+name, limit-len(keys))
		if err != nil {
			return nil, err
		}
		keys = append(keys, deeper...)
	}
	return keys, nil
}

// flush commits what was gathered.
func (r *revocation) flush(ctx context.Context) error {
	if len(r.ops) > 0 {
		if err := r.store.cfg.Storage.Apply(ctx, r.ops...); err != nil {
			return err
		}
	}
	for _, done := range r.done {
		done()
	}
	r.store.ending.remove(r.ids)
	for _, id := range r.ids {
		delete(r.begun, id)
	}
	r.ops, r.done, r.ids = nil, nil, nil
	return nil
}

// adopt makes the token's children orphans, each in a commit of its own. Children whose own revocation
// has begun only leave the index. It returns errMany, with nothing changed, when there are more than limit; 0 sets
// none.
func (r *revocation) adopt(ctx context.Context, id string, limit int) error {
	for {
		children, next, err := storage.Page(storage.LeaveOut(ctx), r.store.cfg.Storage, parentFolder+id+"/", "", childPage)
		if err != nil || len(children) == 0 {
			return err
		}
		if limit > 0 && next != "" {
			return errMany
		}
		var g errgroup.Group
		g.SetLimit(adoptions)
		for _, child := range children {
			g.Go(func() error { return r.store.makeOrphan(ctx, id, child) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
}

func (s *Store) makeOrphan(ctx context.Context, parent, id string) error {
	_, err := keylock.Write(ctx, s.locks, id, func(ctx context.Context) (*Entry, error) {
		unindex := storage.Delete(parentKey(parent, id))
		e, err := s.read(ctx, id) // what a spent token's end is, storage knows alone
		if errors.Is(err, ErrBadToken) || (err == nil && s.ending.has(id)) {
			return nil, s.cfg.Storage.Apply(ctx, unindex)
		}
		if err != nil {
			return nil, err
		}
		e.Parent = ""
		return e, s.putLocked(ctx, e, unindex)
	})
	return err
}
