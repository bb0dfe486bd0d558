//go:build !linux

package servers

func awaitStop(int) error { return nil }
