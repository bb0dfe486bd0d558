package workers

import (
	"math"
	"sync"
	"sync/atomic"
)

// Gate counts calls that are inside until it is closed. Unlike a lock it costs a call one addition on its way in and
// one on its way out. Its zero value is open.
type Gate struct {
	// inside is how many calls there are, with shut added once the gate is closed.
	inside atomic.Int64

	closing, emptied sync.Once
	// empty is set before the gate is closed, and closed when nobody is inside any more.
	empty chan struct{}
}

const shut = math.MinInt64 / 2

// Enter lets a call in, which must Leave, or reports that the gate is closed.
func (g *Gate) Enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.Leave()
	return false
}

// Leave lets a call out.
func (g *Gate) Leave() {
	if g.inside.Add(-1) == shut {
		g.emptied.Do(func() { close(g.empty) })
	}
}

// Close lets nobody in any more. The channel that it returns is closed once nobody is inside.
func (g *Gate) Close() <-chan struct{} {
	g.closing.Do(func() {
		g.empty = make(chan struct{})
		if g.inside.Add(shut) == shut {
			g.emptied.Do(func() { close(g.empty) })
		}
	})
	return g.empty
}
