//go:build !linux

package bolt

// These are there for Linux alone.

func unlock([]byte) {}
func letGo([]byte)  {}
func resident() int { return 0 }
