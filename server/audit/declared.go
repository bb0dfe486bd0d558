package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"coffer/engines"
	"coffer/server/sys"
)

// CheckDevice returns an error that matches engines.ErrInvalid for a device that Declare would refuse. It opens no
// file.
func CheckDevice(d sys.AuditDevice) error {
	if _, err := parseOptions(d.Type, d.Options, false); err != nil {
		return err
	}
	if !validPath(d.Path) {
		return engines.Invalid("invalid path for audit device: %q", d.Path)
	}
	return nil
}

// errDeclared is returned for a change of a declared device through the API.
var errDeclared = engines.Invalid("the server's configuration declares the audit device; change it there and send " +
	"SIGHUP, or restart")

// Declare makes the declared devices be those of the server's configuration. New ones are stored, with a key of their
// own that they keep from then on; those that are declared no more are disabled. One whose path was enabled by hand is
// taken over with its key. Nothing is written when nothing changes.
//
// A file that cannot be opened is no error, as in Load: the device is enabled, and requests are refused until it can.
func (b *Broker) Declare(ctx context.Context, declared []sys.AuditDevice) error {
	for _, d := range declared {
		if err := CheckDevice(d); err != nil {
			return fmt.Errorf("audit: device %s: %w", d.Path, err)
		}
	}
	b.changing.Lock()
	defer b.changing.Unlock()
	old := b.listLocked()
	var next, fresh []*device
	for _, d := range old {
		if !d.declared && !slices.ContainsFunc(declared, func(o sys.AuditDevice) bool { return o.Path == d.Path }) {
			next = append(next, d)
		}
	}
	for _, want := range declared {
		at := slices.IndexFunc(old, func(d *device) bool { return d.Path == want.Path })
		if at >= 0 && old[at].declared && same(old[at].AuditDevice, want) {
			next = append(next, old[at])
			continue
		}
		d, err := b.declare(next, want, keyOf(old, at))
		if err != nil {
			b.drop(fresh)
			return err
		}
		fresh, next = append(fresh, d), append(next, d)
	}
	if len(fresh) == 0 && len(next) == len(old) {
		return nil
	}
	if err := b.saveLocked(ctx, next); err != nil {
		b.drop(fresh)
		return err
	}
	b.setLocked(next)
	for _, d := range old {
		if !slices.Contains(next, d) {
			d.sink.close(b.cfg.Timeout)
		}
	}
	b.cfg.Logger.Info("audit devices are as the configuration declares them", "declared", len(declared))
	return nil
}

// keyOf is the key of a device that is there already, or a new one.
func keyOf(old []*device, at int) []byte {
	if at >= 0 {
		return old[at].key
	}
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return key
}

// declare makes a device beside others.
func (b *Broker) declare(others []*device, want sys.AuditDevice, key []byte) (*device, error) {
	opts, err := parseOptions(want.Type, want.Options, false)
	if err != nil {
		return nil, err
	}
	if err := checkCollisions(others, want.Path, opts); err != nil {
		return nil, fmt.Errorf("audit: device %s: %w", want.Path, err)
	}
	out, err := openFile(opts)
	if err != nil {
		b.cfg.Logger.Error("audit device cannot be opened; requests fail until it can, unless another records",
			"device", want.Path, "error", err)
		out = nil
	}
	return newDevice(record{
		Path: want.Path, Type: want.Type, Description: want.Description, Options: maps.Clone(want.Options), Key: key,
		Declared: true,
	}, opts, out), nil
}

// drop closes devices that are not to be.
func (b *Broker) drop(devices []*device) {
	for _, d := range devices {
		d.sink.close(b.cfg.Timeout)
	}
}

func same(a, b sys.AuditDevice) bool {
	return a.Path == b.Path && a.Type == b.Type && a.Description == b.Description && maps.Equal(a.Options, b.Options)
}
