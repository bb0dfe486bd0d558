package ceremony

import (
	"sync"
	"time"
)

// IdleLimit is how long an attempt lives after it began, or after the last share that fits.
const IdleLimit = 10 * time.Minute

// idle ends what nobody went on with. Its methods, and end, are called with the lock of the ceremony held.
type idle struct {
	timer *time.Timer
	// turn tells a timer that fired too late, while the lock was held, from the one that counts.
	turn int
}

// restart calls end after IdleLimit, unless restart or stop is called before.
func (i *idle) restart(mu sync.Locker, end func()) {
	i.stop()
	turn := i.turn
	i.timer = time.AfterFunc(IdleLimit, func() {
		mu.Lock()
		defer mu.Unlock()
		if i.turn == turn {
			end()
		}
	})
}

func (i *idle) stop() {
	i.turn++
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
}
