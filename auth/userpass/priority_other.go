//go:build !linux

package userpass

// lowerPriority does nothing where threads have no priority of their own.
func lowerPriority() {}
