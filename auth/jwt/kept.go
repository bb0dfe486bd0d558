package jwt

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of what is kept of logins under way.
const (
	// maxPassing is how many logins are remembered that anybody can make: a callback that failed, a client that polls.
	// The oldest is forgotten first, which lets its state be tried again and costs nobody a login.
	maxPassing = 4096
	// maxForms bounds the forms that wait for the command line, in bytes together.
	maxForms = 4 << 20
	// sweepAt is how many logins are kept before it is looked for those that have expired.
	sweepAt = 1024
	// maxDevices and maxDevicesOfOne bound the logins of mode "device" that begin in a minute, because each asks the
	// provider.
	maxDevices, maxDevicesOfOne = 600, 60
)

// kept is what the server must know of a login beside its state: that it was used, and what waits for its client.
type kept struct {
	expires time.Time
	// lasting is set once the provider has confirmed the login. It is not forgotten before it expires.
	lasting bool
	// spent is set when the state was used.
	spent bool
	// next is when the client may poll again; slower is how much longer the provider wants it to wait.
	next   time.Time
	slower time.Duration
	direct directLogin
	// outcome is how a login went whose client polls.
	outcome *outcome
	// form is one that the client itself posted; nil for none.
	form *brought
	from netip.Addr
}

func (k *kept) size() int {
	if k.form == nil {
		return 0
	}
	return len(k.form.code) + len(k.form.idToken)
}

// flows are the logins under way at one mount. They live in memory alone: sealing ends them.
type flows struct {
	*states
	now func() time.Time

	mu   sync.Mutex
	kept map[string]*kept // By the id of the flow. Guarded by mu, as below.
	// passing are the ids of those that may be forgotten, the oldest first, and perhaps of some that may not.
	passing []string
	sweep   int
	// forms are the bytes of forms by the network of who posted them.
	forms map[netip.Addr]int
	// minute is the minute whose beginnings of mode "device" are counted.
	minute  time.Time
	devices map[netip.Addr]int
	all     int
}

func newFlows(now func() time.Time) (*flows, error) {
	s, err := newStates()
	return &flows{states: s, now: now, kept: map[string]*kept{}, sweep: sweepAt, forms: map[netip.Addr]int{}}, err
}

// flow returns the flow of a state that has not expired.
func (f *flows) flow(state string) (*flow, bool) {
	w, ok := f.open(state)
	return w, ok && f.now().Before(w.expires)
}

// with calls do with what is kept of a flow. No other call for the mount's flows runs meanwhile.
func (f *flows) with(w *flow, do func(*kept)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.keepLocked(w))
}

func (f *flows) keepLocked(w *flow) *kept {
	if k := f.kept[w.id]; k != nil {
		return k
	}
	now := f.now()
	for len(f.passing) > 0 {
		k := f.kept[f.passing[0]]
		if len(f.passing) < maxPassing && k != nil && !k.lasting && now.Before(k.expires) {
			break
		}
		if k != nil && !k.lasting {
			f.forgetLocked(f.passing[0])
		}
		f.passing = f.passing[1:]
	}
	if len(f.kept) >= f.sweep {
		for id, k := range f.kept {
			if !now.Before(k.expires) {
				f.forgetLocked(id)
			}
		}
		f.sweep = max(sweepAt, 2*len(f.kept))
	}
	k := &kept{expires: w.expires}
	f.kept[w.id] = k
	f.passing = append(f.passing, w.id)
	return k
}

func (f *flows) forgetLocked(id string) {
	if k := f.kept[id]; k != nil {
		f.dropFormLocked(k)
		delete(f.kept, id)
	}
}

// spend reports whether the state was not used before, and notes that it is.
func (f *flows) spend(w *flow) (first bool) {
	f.with(w, func(k *kept) { first, k.spent = !k.spent, true })
	return first
}

// last keeps the login until it expires.
func (f *flows) last(w *flow) { f.with(w, func(k *kept) { k.lasting = true }) }

// post keeps the first form that the client of a flow posts, and reports whether it was that. The forms of whoever has
// the most of them make room.
func (f *flows) post(w *flow, got brought, from netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.keepLocked(w)
	if k.form != nil || k.spent {
		return false
	}
	k.form, k.from = &got, network(from)
	f.forms[k.from] += k.size()
	for f.formsLocked() > maxForms {
		f.makeRoomLocked(k)
	}
	return k.form != nil
}

func (f *flows) formsLocked() (all int) {
	for _, n := range f.forms {
		all += n
	}
	return all
}

// makeRoomLocked forgets the oldest form of the network that has the most, or the new one when there is no other.
func (f *flows) makeRoomLocked(newest *kept) {
	var most netip.Addr
	for from, n := range f.forms {
		if n > f.forms[most] {
			most = from
		}
	}
	for _, id := range f.passing {
		if k := f.kept[id]; k != nil && k.form != nil && k.from == most {
			f.dropFormLocked(k)
			return
		}
	}
	f.dropFormLocked(newest)
}

func (f *flows) dropFormLocked(k *kept) {
	if k.form == nil {
		return
	}
	if f.forms[k.from] -= k.size(); f.forms[k.from] <= 0 {
		delete(f.forms, k.from)
	}
	k.form = nil
}

// beginDevice reports whether a login of mode "device" may begin now.
func (f *flows) beginDevice(from netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if minute := f.now().Truncate(time.Minute); !minute.Equal(f.minute) {
		f.minute, f.devices, f.all = minute, map[netip.Addr]int{}, 0
	}
	if f.all >= maxDevices || f.devices[from] >= maxDevicesOfOne {
		return false
	}
	f.all++
	f.devices[from]++
	return true
}
