//go:build !linux

package notify

import "errors"

// Only Linux has a service manager that asks.
func monotonic() (int64, error) { return 0, errors.ErrUnsupported }
