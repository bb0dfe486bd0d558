package barrier

import (
	"errors"
	"fmt"
	"time"
)

// Limits of the automatic rotation, those of Vault's sys/rotate/config.
const (
	// MinOperations and MaxOperations bound RotationConfig.MaxOperations. The upper one is 90 % of the
	// 2^32 encryptions that NIST SP 800-38D allows a key with random nonces.
	MinOperations = 1_000_000
	MaxOperations = 3_865_470_566
	// MinInterval is the shortest time between two automatic rotations.
	MinInterval = 24 * time.Hour

	maxInterval = 100 * 365 * 24 * time.Hour
)

// ErrInvalidConfig is returned for a RotationConfig outside the limits.
var ErrInvalidConfig = errors.New("barrier: invalid rotation configuration")

// RotationConfig says when a new term begins by itself, as Vault's sys/rotate/config does.
type RotationConfig struct {
	// Enabled switches the automatic rotation on. Short of 2^32 encryptions a new term begins anyway.
	Enabled bool
	// MaxOperations is how many values one term encrypts: MinOperations to MaxOperations.
	MaxOperations uint64
	// Interval is how long one term is used: 0 for no limit, else whole seconds of at least MinInterval.
	Interval time.Duration
}

// DefaultRotationConfig is the configuration of a new barrier.
func DefaultRotationConfig() RotationConfig {
	return RotationConfig{Enabled: true, MaxOperations: MaxOperations}
}

// Validate returns ErrInvalidConfig when a field is outside its limits.
func (c RotationConfig) Validate() error {
	switch {
	case c.MaxOperations < MinOperations || c.MaxOperations > MaxOperations:
		return fmt.Errorf("%w: max_operations must be between %d and %d",
			ErrInvalidConfig, MinOperations, uint64(MaxOperations))
	case c.Interval != 0 && (c.Interval < MinInterval || c.Interval > maxInterval):
		return fmt.Errorf("%w: interval must be 0, or between %s and %s", ErrInvalidConfig, MinInterval, maxInterval)
	case c.Interval%time.Second != 0:
		return fmt.Errorf("%w: interval must be whole seconds", ErrInvalidConfig)
	}
	return nil
}
