package core

import (
	"context"
	"errors"

	"coffer/auth/token"
	"coffer/engines"
	"coffer/server/sys"
	"coffer/storage"
)

// flying tells the sys engine which requests are being served.
type flying struct{ *session }

var _ sys.InFlight = flying{}

// perFlight is about how many bytes a request takes in the list, besides its path.
const perFlight = 512

// Requests implements sys.InFlight. Who asks is looked up only now, so that requests that nobody lists pay nothing.
func (f flying) Requests(ctx context.Context) (map[string]sys.InFlightRequest, error) {
	flights := f.flights.Requests()
	size := 0
	for i := range flights {
		size += perFlight + len(flights[i].Path)
	}
	if err := storage.Spend(ctx, size); err != nil {
		return nil, err
	}
	listed := make(map[string]sys.InFlightRequest, len(flights))
	for i := range flights {
		r := &flights[i]
		client, err := f.clientOf(ctx, r.Token)
		if err != nil {
			return nil, err
		}
		listed[r.ID] = sys.InFlightRequest{StartTime: r.Begun.UTC(), ClientRemoteAddress: r.Address,
			RequestPath: engines.WithoutTokens(r.Path), RequestMethod: r.Method, ClientID: client}
	}
	return listed, nil
}

// clientOf names the holder of a token, "" when it is worthless.
func (f flying) clientOf(ctx context.Context, t engines.Token) (string, error) {
	if t.IsZero() {
		return "", nil
	}
	entry, err := f.tokens.Authenticate(ctx, t)
	if errors.Is(err, token.ErrBadToken) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return entry.Caller.ClientID(), nil
}
