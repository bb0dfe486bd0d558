package workers

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestGate(t *testing.T) {
	var g Gate
	for range 2 {
		if !g.Enter() {
			t.Fatal("an open gate lets nobody in")
		}
	}
	g.Leave()
	empty := g.Close()
	if g.Enter() {
		t.Error("a closed gate lets somebody in")
	}
	select {
	case <-empty:
		t.Error("empty though somebody is inside")
	default:
	}
	g.Leave()
	<-empty
	<-g.Close()
}

// TestGateUnderLoad: once the gate is empty nobody is inside.
func TestGateUnderLoad(t *testing.T) {
	for range 200 {
		var g Gate
		var inside atomic.Int64
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				for g.Enter() {
					inside.Add(1)
					inside.Add(-1)
					g.Leave()
				}
			})
		}
		<-g.Close()
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d are inside", n)
		}
		callers.Wait()
	}
}
