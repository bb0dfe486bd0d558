package storage

import "context"

// Damage is something in a storage that cannot be read: a value, or the name of one.
type Damage struct {
	// Key is that of the value; or the folder, ending in "/", in which there is a name that cannot be read.
	Key string
	// Stored is where such a name lies in the storage below, in its own terms; "" for a value.
	Stored string
	// Err says what is wrong. Its text holds keys, and nothing of a value.
	Err error
}

// Reporter is a Storage that keeps account of what cannot be read. It is told of what it cannot know by itself: values
// that are as they were stored, and are not what their owner takes them for.
type Reporter interface {
	// Report is told of damage, any number of times of the same. It does not wait.
	Report(d Damage)
}

// SetAside tells a Storage, if it is a Reporter, that the value of a key is not what its owner can use. The owner goes
// on without it.
func SetAside(s Storage, key string, err error) {
	if r, ok := s.(Reporter); ok {
		r.Report(Damage{Key: key, Err: err})
	}
}

// Discarder is a Storage whose folders may have names that cannot be read.
type Discarder interface {
	// Discard removes what a folder, which ends in "/" or is "", has under such names, and what is below them.
	Discard(ctx context.Context, folder string) error
}

// discard is Discard of a Storage that may have such names.
func discard(ctx context.Context, s Storage, folder string) error {
	if d, ok := s.(Discarder); ok {
		return d.Discard(ctx, folder)
	}
	return nil
}

type leavingOut struct{}

// LeaveOut returns a context in which List and Page leave out the names that they cannot read, where they otherwise
// return ErrDamaged. It is for who shows or serves what is there, and not for who concludes something from what is not.
func LeaveOut(ctx context.Context) context.Context { return context.WithValue(ctx, leavingOut{}, true) }

// LeavesOut reports whether a context is one of LeaveOut.
func LeavesOut(ctx context.Context) bool { return ctx.Value(leavingOut{}) != nil }
