package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"coffer/api-tests/servers"
)

// Each secrets writer owns this many secrets, and the engine keeps this many versions of each.
const (
	secretsEach  = 8
	versionsKept = 10
)

// state of one secret: how many versions were written since it was made (0: it does not exist), and the sequence number
// that the latest one carries.
type state struct {
	version int
	seq     int
}

// secrets writes and removes secrets of a KV version 2 engine.
type secrets struct {
	name    string
	seq     int
	acked   [secretsEach]state
	pending map[int]state // What the change without an answer would have led to, by secret.
	dirty   map[int]bool  // Changed since the last check.
}

func newSecrets(i int) *secrets {
	return &secrets{name: fmt.Sprintf("w%d", i), pending: map[int]state{}, dirty: map[int]bool{}}
}

func (w *secrets) path(kind string, i int) string {
	return fmt.Sprintf("secret/%s/%s/app-%d", kind, w.name, i)
}

// payload is a value that tells by itself whether it is whole: from 100 bytes to 20 KB, made from name and number.
func (w *secrets) payload(i, seq int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", w.name, i, seq))
	return strings.Repeat(hex.EncodeToString(sum[:]), 2+int(sum[0]))
}

func (w *secrets) work(ctx context.Context, s *servers.Server, random *rand.Rand) error {
	i := random.IntN(secretsEach)
	w.seq++
	next := state{version: w.acked[i].version + 1, seq: w.seq}
	remove := random.IntN(10) == 0
	if remove {
		next = state{}
	}
	w.pending[i], w.dirty[i] = next, true
	var err error
	if remove {
		_, err = call(ctx, s, http.MethodDelete, w.path("metadata", i), s.RootToken, nil, http.StatusNoContent)
	} else {
		var a servers.Answer
		body := map[string]any{"data": map[string]any{"seq": next.seq, "payload": w.payload(i, next.seq)}}
		a, err = call(ctx, s, http.MethodPost, w.path("data", i), s.RootToken, body, http.StatusOK)
		if got := number(a.Data()["version"]); err == nil && got != next.version {
			err = fmt.Errorf("%w: %s: acknowledged as version %d, want %d",
				errBroken, w.path("data", i), got, next.version)
		}
	}
	if err != nil {
		return err
	}
	w.acked[i] = next
	delete(w.pending, i)
	return nil
}

func (w *secrets) check(ctx context.Context, s *servers.Server) error {
	for i := range w.dirty {
		got, err := w.observe(ctx, s, i)
		if err != nil {
			return err
		}
		pending, undecided := w.pending[i]
		if got != w.acked[i] && (!undecided || got != pending) {
			return fmt.Errorf("%w: %s is %+v; acknowledged %+v, under way %+v (%t)",
				errBroken, w.path("data", i), got, w.acked[i], pending, undecided)
		}
		w.acked[i] = got
	}
	clear(w.pending)
	clear(w.dirty)
	return nil
}

// observe reads a secret in every way there is and reports an error when they do not fit together.
func (w *secrets) observe(ctx context.Context, s *servers.Server, i int) (state, error) {
	found := []int{http.StatusOK, http.StatusNotFound}
	data, err := call(ctx, s, http.MethodGet, w.path("data", i), s.RootToken, nil, found...)
	if err != nil {
		return state{}, err
	}
	meta, err := call(ctx, s, http.MethodGet, w.path("metadata", i), s.RootToken, nil, found...)
	if err != nil {
		return state{}, err
	}
	if data.Status != meta.Status {
		return state{}, fmt.Errorf("%w: %s: data says %d, metadata %d",
			errBroken, w.path("data", i), data.Status, meta.Status)
	}
	if data.Status == http.StatusNotFound {
		return state{}, nil
	}
	values, _ := data.Data()["data"].(map[string]any)
	about, _ := data.Data()["metadata"].(map[string]any)
	got := state{version: number(about["version"]), seq: number(values["seq"])}
	if values["payload"] != w.payload(i, got.seq) {
		return got, fmt.Errorf("%w: %s version %d is not whole", errBroken, w.path("data", i), got.version)
	}
	versions, _ := meta.Data()["versions"].(map[string]any)
	if current := number(meta.Data()["current_version"]); current != got.version ||
		len(versions) != min(got.version, versionsKept) {
		return got, fmt.Errorf("%w: %s: latest data is version %d, metadata says %d with %d versions",
			errBroken, w.path("data", i), got.version, current, len(versions))
	}
	return got, w.oldest(ctx, s, i, max(1, got.version-versionsKept+1))
}

// oldest checks that the oldest version which is kept can still be read.
func (w *secrets) oldest(ctx context.Context, s *servers.Server, i, version int) error {
	path := fmt.Sprintf("%s?version=%d", w.path("data", i), version)
	a, err := call(ctx, s, http.MethodGet, path, s.RootToken, nil, http.StatusOK)
	if err != nil {
		return err
	}
	values, _ := a.Data()["data"].(map[string]any)
	if values["payload"] != w.payload(i, number(values["seq"])) {
		return fmt.Errorf("%w: %s is not whole", errBroken, path)
	}
	return nil
}

// number is a JSON number as an int, or -1.
func number(v any) int {
	switch n := v.(type) {
	case float64:
		return int(n)
	case json.Number:
		i, err := n.Int64()
		if err == nil {
			return int(i)
		}
	}
	return -1
}
