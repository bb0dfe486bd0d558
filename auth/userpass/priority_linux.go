package userpass

import "golang.org/x/sys/unix"

// niceness makes a thread of normal priority go first whenever it has something to do, and leaves about a tenth of
// a busy machine.
const niceness = 10

// lowerPriority lowers the priority of the calling thread. If it cannot, hashing only disturbs others more.
func lowerPriority() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness) }
