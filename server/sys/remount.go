package sys

import (
	"context"
	"errors"
	"strings"
	"sync"
	"unicode"

	"github.com/google/uuid"

	"coffer/engines"
	"coffer/server/mounts"
)

func (e *engine) remountRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("remount", "Move a mount to another path.", engines.Sudo(), engines.OnUpdate(e.remount)),
		engines.Path("remount/status/{migration_id}", "Tell how a move went.", engines.OnRead(e.remountStatus)),
	}
}

type remountParams struct {
	From string `param:"from" as:"path" help:"Path of the mount now."`
	To   string `param:"to" as:"path" help:"Path of the mount from then on."`
}

// remount moves a mount. What it issued at its old path is revoked in the background; remount/status tells when that
// is done.
func (e *engine) remount(ctx context.Context, _ *engines.Request, p remountParams) (*engines.Response, error) {
	from, to := strings.Trim(p.From, "/")+"/", strings.Trim(p.To, "/")+"/"
	if err := e.checkMove(p, from, to); err != nil {
		return nil, err
	}
	id := uuid.NewString()
	if err := e.Mounts.Remount(ctx, from, to, id); err != nil {
		if errors.Is(err, mounts.ErrNoMount) {
			return nil, engines.Invalid("no matching mount at %q", from)
		}
		return nil, err
	}
	e.moves.add(move{id, from, to})
	return &engines.Response{
		Data:    map[string]any{"migration_id": id},
		Flatten: true,
		Warnings: []string{"Mount move has been queued. Progress will be reported in Vault's server log, " +
			"tagged with the returned migration_id"},
	}, nil
}

func (e *engine) checkMove(p remountParams, from, to string) error {
	switch {
	case p.From == "" || p.To == "":
		return engines.Invalid("both 'from' and 'to' path must be specified as a string")
	case strings.TrimSpace(p.From) != p.From:
		return engines.Invalid("'from' path cannot contain trailing whitespace")
	case strings.TrimSpace(p.To) != p.To:
		return engines.Invalid("'to' path cannot contain trailing whitespace")
	case strings.ContainsFunc(to, func(r rune) bool { return !unicode.IsPrint(r) }):
		return engines.Invalid("invalid destination mount: path cannot contain non-printable characters")
	case !clean(to):
		return engines.Invalid("invalid destination mount: path is not clean")
	}
	fromAuth, toAuth := strings.HasPrefix(from, mounts.AuthPrefix), strings.HasPrefix(to, mounts.AuthPrefix)
	switch {
	case from == tokenPath, !fromAuth && reserved(from):
		return engines.Invalid("cannot remount %q", from)
	case fromAuth && !toAuth:
		return engines.Invalid("cannot remount auth mount to non-auth mount %q", to)
	case fromAuth && (to == tokenPath || to == mounts.AuthPrefix):
		return engines.Invalid("cannot remount to destination %q", to)
	case !fromAuth && reserved(to):
		return engines.Invalid("cannot remount to destination %s", to)
	}
	if _, ok := e.Mounts.Find(from); !ok {
		return engines.Invalid("no matching mount at %q", from)
	}
	if taken, ok := e.conflict(to); ok {
		return engines.Invalid("path already in use at %q", taken.Path)
	}
	return nil
}

// clean reports whether a mount path has no segments that a request path could never have.
func clean(path string) bool {
	for segment := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

type migrationParams struct {
	ID string `path:"migration_id" help:"What the move returned."`
}

func (e *engine) remountStatus(_ context.Context, _ *engines.Request, p migrationParams) (*engines.Response, error) {
	m, ok := e.moves.find(p.ID)
	from, to, moving := e.Mounts.Moving(p.ID)
	status := "success"
	switch {
	case moving:
		m, status = move{p.ID, from, to}, "in-progress"
	case !ok:
		return nil, engines.NotFound()
	}
	return read(map[string]any{
		"migration_id":   m.id,
		"migration_info": migrationInfo{SourceMount: m.from, TargetMount: m.to, Status: status},
	})
}

// migrationInfo has its members in the order in which Vault writes them.
type migrationInfo struct {
	SourceMount string `json:"source_mount"`
	TargetMount string `json:"target_mount"`
	Status      string `json:"status"`
}

// maxMoves is how many moves are remembered until the server seals.
const maxMoves = 64

// moves remembers the last moves, also when they are done.
type moves struct {
	mu sync.Mutex
	// last, guarded by mu, holds the moves in their order.
	last []move
}

type move struct{ id, from, to string }

func (m *moves) add(latest move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.last) == maxMoves {
		m.last = append(m.last[:0], m.last[1:]...)
	}
	m.last = append(m.last, latest)
}

func (m *moves) find(id string) (move, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, move := range m.last {
		if move.id == id {
			return move, true
		}
	}
	return move{}, false
}
