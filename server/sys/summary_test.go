package sys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"coffer/engines"
	"coffer/storage"
)

// budget refuses everything, and remembers how much it was asked for.
type budget struct{ asked int }

var errNoRoom = errors.New("no room")

func (b *budget) Spend(_ context.Context, n int) error {
	b.asked = n
	return errNoRoom
}

// TestSummaryWaitsForRoom asks what large policies grant: the answer is charged before it is made.
func TestSummaryWaitsForRoom(t *testing.T) {
	b := newBench(t)
	var rules strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&rules, "path \"secret/data/%d\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\"] }\n", i)
	}
	if err := b.policies.Set(t.Context(), "large", rules.String()); err != nil {
		t.Fatal(err)
	}
	m, ok := b.router.Match(t.Context(), engines.Read, "internal/ui/resultant-acl")
	if !ok {
		t.Fatal("no route")
	}
	request := &engines.Request{Operation: engines.Read, Token: engines.NewToken("t"), Caller: &engines.Caller{Policies: []string{"large"}}}
	resp, err := m.Call(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(resp.Data)
	if err != nil {
		t.Fatal(err)
	}
	var none budget
	ctx := context.WithValue(t.Context(), storage.BudgetKey{}, storage.Budget(&none))
	if _, err := m.Call(ctx, request); !errors.Is(err, errNoRoom) || none.asked < len(text) {
		t.Errorf("%v, asked for %d bytes of %d", err, none.asked, len(text))
	}
}
