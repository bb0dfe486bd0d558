// Package workers counts what runs beside requests until a session ends.
package workers

import "sync"

// Group counts functions that run in the background. Unlike a sync.WaitGroup it may be given further ones at any time,
// also by requests that do not know that the session is about to end. Its zero value is ready for use.
type Group struct {
	running sync.WaitGroup

	mu sync.Mutex
	// over is guarded by mu. It is set once Wait was called.
	over bool
}

// Go runs f in a goroutine of its own that Wait waits for. Once Wait was called it runs nothing and reports false.
func (g *Group) Go(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	g.running.Go(f)
	return true
}

// Wait waits until everything that was begun has ended. From then on nothing is begun.
func (g *Group) Wait() {
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	g.running.Wait()
}
