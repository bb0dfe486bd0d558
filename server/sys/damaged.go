package sys

import (
	"context"
	"net/http"
	"time"

	"coffer/engines"
)

// Damaged keeps account of what is stored and cannot be read.
type Damaged interface {
	// Records returns what was found, and how many more there are.
	Records() (found []DamagedRecord, more int)
	// Accept removes a record for good. An id that names none is an engines.ErrNotFound, and one that can be read again
	// an engines.ErrInvalid.
	Accept(ctx context.Context, id string) error
	// Check begins to read everything that is stored; false when that is being done already.
	Check() bool
	// Checking reports whether it is being done.
	Checking() bool
}

// DamagedRecord is a record that cannot be read, as operators see it.
type DamagedRecord struct {
	ID, Kind, Name, Key, Reason string
	Found                       time.Time
}

// The routes below damaged are coffer's own.
func (e *engine) damagedRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("damaged", "List the stored records that cannot be read.", engines.Sudo(),
			engines.OnRead(e.listDamaged)),
		engines.Path("damaged/check", "Read everything that is stored, in the background.", engines.Sudo(),
			engines.OnUpdate(e.checkStored)),
		engines.Path("damaged/{id}", "Give up a record that cannot be read.", engines.Sudo(),
			engines.OnDelete(e.acceptDamaged)),
	}
}

func (e *engine) listDamaged(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	checking := e.Damaged.Checking() // before the records: when it is over they are all there
	found, more := e.Damaged.Records()
	records := make([]any, 0, len(found))
	for _, r := range found {
		records = append(records, map[string]any{
			"id": r.ID, "kind": r.Kind, "name": r.Name, "key": r.Key, "reason": r.Reason, "found": timestamp(r.Found),
		})
	}
	return read(map[string]any{"records": records, "more": more, "checking": checking})
}

func (e *engine) checkStored(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	if !e.Damaged.Check() {
		return warn("Everything that is stored is being read already.")
	}
	return &engines.Response{Status: http.StatusAccepted, NoMountType: true,
		Warnings: []string{"Everything that is stored is being read. What cannot be is in the log and at sys/damaged."}}, nil
}

type damagedParams struct {
	ID string `path:"id" help:"Id of the record, as sys/damaged tells it."`
}

func (e *engine) acceptDamaged(ctx context.Context, _ *engines.Request, p damagedParams) (*engines.Response, error) {
	if err := e.Damaged.Accept(ctx, p.ID); err != nil {
		return nil, err
	}
	return done()
}
