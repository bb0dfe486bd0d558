//go:build !linux

package main

import "errors"

const mlockSupported = false

// lockMemory is there for Linux alone.
func lockMemory() error { return errors.ErrUnsupported }

// unlockedMapping runs open.
func unlockedMapping(open func()) { open() }
