package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"

	"coffer/engines"
	"coffer/server/sys"
	"coffer/storage"
)

// recordKey holds all devices with their keys in one value.
const recordKey = "core/audit"

// Bounds of the table of devices.
const (
	maxDevices    = 32
	maxDevicePath = 256
)

// errInUse is Vault's text for a path that collides with another device's.
var errInUse = engines.Invalid("path already in use: invalid configuration")

// device is an enabled audit device.
type device struct {
	sys.AuditDevice
	opts   options
	key    []byte
	hasher *hasher
	sink   *sink
	// declared is set when the server's configuration has the device.
	declared bool
	// failing is set while the device does not record.
	failing atomic.Bool
}

// record is what the storage knows of a device.
type record struct {
	Path        string            `json:"path"`
	Type        string            `json:"type"`
	Description string            `json:"description,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
	Local       bool              `json:"local,omitempty"`
	// Key is the key of its HMACs.
	Key []byte `json:"key"`
	// Declared is set for a device of the server's configuration.
	Declared bool `json:"declared,omitempty"`
}

var _ sys.Audit = (*Broker)(nil)

// Load starts the devices of the storage. One whose file cannot be opened is enabled all the same, and
// tried again with every entry: unsealing must not fail for it, but nothing may go unrecorded either. When the record
// of the devices cannot be read, there is a device that does not record.
func (b *Broker) Load(ctx context.Context) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	text, err := b.cfg.Storage.Get(ctx, recordKey)
	var records []record
	if err == nil {
		if records, err = decodeRecords(text); err != nil {
			storage.SetAside(b.cfg.Storage, recordKey, err)
		}
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case errors.Is(err, storage.ErrDamaged):
		b.lost.Store(true)
		b.setLocked(nil)
		return nil
	case err != nil:
		return fmt.Errorf("audit: read %s: %w", recordKey, err)
	}
	devices := make([]*device, 0, len(records))
	for _, r := range records {
		opts, err := parseOptions(r.Type, r.Options, true)
		if err != nil {
			return fmt.Errorf("audit: device %s: %w", r.Path, err)
		}
		out, err := openFile(opts)
		if err != nil {
			b.cfg.Logger.Error("audit device cannot be opened; requests fail until it can, unless another records",
				"device", r.Path, "error", err)
			out = nil
		}
		devices = append(devices, newDevice(r, opts, out))
	}
	b.setLocked(devices)
	return nil
}

// decodeRecords reads the table of devices. Bytes that are not one are an error that names the key.
func decodeRecords(text []byte) ([]record, error) {
	var records []record
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, fmt.Errorf("audit: %s: %w: %w", recordKey, storage.ErrDamaged, err)
	}
	for _, r := range records {
		if len(r.Key) != keySize || !validPath(r.Path) {
			return nil, fmt.Errorf("audit: %s: %w: device %q", recordKey, storage.ErrDamaged, r.Path)
		}
	}
	return records, nil
}

func newDevice(r record, opts options, out io.WriteCloser) *device {
	return &device{
		AuditDevice: sys.AuditDevice{
			Path: r.Path, Type: r.Type, Description: r.Description, Options: r.Options, Local: r.Local,
		},
		opts: opts, key: r.Key, hasher: newHasher(r.Key), declared: r.Declared,
		sink: newSink(out, func() (io.WriteCloser, error) { return openFile(opts) }),
	}
}

// listLocked returns the devices; b.changing is held.
func (b *Broker) listLocked() []*device {
	if t := b.devices.Load(); t != nil {
		return t.devices
	}
	return nil
}

// setLocked replaces the devices; b.changing is held.
func (b *Broker) setLocked(devices []*device) {
	if len(devices) == 0 && !b.lost.Load() {
		b.devices.Store(nil)
		return
	}
	slices.SortFunc(devices, func(x, y *device) int { return cmp.Compare(x.Path, y.Path) })
	b.devices.Store(&table{devices: devices, lost: b.lost.Load()})
}

// Lost reports whether there are devices that cannot be read.
func (b *Broker) Lost() bool { return b.lost.Load() }

// Reread goes on without the devices that could not be read, once their record is gone for good.
func (b *Broker) Reread(ctx context.Context) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	if !b.lost.Load() {
		return nil
	}
	switch _, err := b.cfg.Storage.Get(ctx, recordKey); {
	case err == nil, errors.Is(err, storage.ErrDamaged):
		return nil // it is still there
	case !errors.Is(err, storage.ErrNotFound):
		return err
	}
	list := b.listLocked()
	b.lost.Store(false)
	if len(list) > 0 {
		if err := b.saveLocked(ctx, list); err != nil {
			b.lost.Store(true)
			return err
		}
	}
	b.setLocked(list)
	return nil
}

// saveLocked commits the table; b.changing is held. While the stored one cannot be read it is not replaced.
func (b *Broker) saveLocked(ctx context.Context, devices []*device) error {
	if b.lost.Load() {
		return nil
	}
	records := make([]record, len(devices))
	for i, d := range devices {
		records[i] = record{
			Path: d.Path, Type: d.Type, Description: d.Description, Options: d.Options, Local: d.Local, Key: d.key,
			Declared: d.declared,
		}
	}
	text, err := json.Marshal(records)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := b.cfg.Storage.Apply(ctx, storage.Put(recordKey, text)); err != nil {
		return fmt.Errorf("audit: write %s: %w", recordKey, err)
	}
	return nil
}

// Devices returns the devices sorted by path. It serves `GET sys/audit`.
func (b *Broker) Devices() []sys.AuditDevice {
	t := b.devices.Load()
	if t == nil {
		return nil
	}
	devices := make([]sys.AuditDevice, len(t.devices))
	for i, d := range t.devices {
		devices[i] = d.AuditDevice
		devices[i].Options = maps.Clone(d.Options)
	}
	return devices
}

// validPath accepts device names: clean paths that end in "/".
func validPath(path string) bool {
	name, ok := strings.CutSuffix(path, "/")
	if !ok || len(path) > maxDevicePath || strings.ContainsFunc(path, unicode.IsControl) {
		return false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// Enable opens a device, stores it and starts to record on it. It serves `PUT sys/audit/:path`; what the
// client got wrong is engines.ErrInvalid.
func (b *Broker) Enable(ctx context.Context, d sys.AuditDevice) error {
	opts, err := parseOptions(d.Type, d.Options, b.cfg.AllowPrefix)
	if err != nil {
		return err
	}
	if !validPath(d.Path) {
		return engines.Invalid("invalid path for audit device: %q", d.Path)
	}
	b.changing.Lock()
	defer b.changing.Unlock()
	if b.lost.Load() {
		return errLostDevices
	}
	list := b.listLocked()
	if err := checkCollisions(list, d.Path, opts); err != nil {
		return err
	}
	if err := makeFolder(opts); err != nil {
		return invalidDevice("file sink creation failed for path %q: %v", opts.file, err)
	}
	out, err := openFile(opts)
	if err != nil {
		return invalidDevice("file sink creation failed for path %q: %v", opts.file, err)
	}
	r := record{
		Path: d.Path, Type: d.Type, Description: d.Description, Options: maps.Clone(d.Options), Local: d.Local,
		Key: make([]byte, keySize),
	}
	_, _ = rand.Read(r.Key) // never fails
	added := newDevice(r, opts, out)
	next := append(slices.Clone(list), added)
	if err := b.saveLocked(ctx, next); err != nil {
		added.sink.close(b.cfg.Timeout)
		return err
	}
	b.setLocked(next)
	b.cfg.Logger.Info("enabled audit device", "device", d.Path, "type", d.Type)
	return nil
}

func checkCollisions(list []*device, path string, opts options) error {
	if len(list) >= maxDevices {
		return engines.Invalid("no more than %d audit devices can be enabled", maxDevices)
	}
	for _, other := range list {
		if strings.HasPrefix(path, other.Path) || strings.HasPrefix(other.Path, path) {
			return errInUse
		}
		if opts.file != toStdout && opts.file != toDiscard && sameFile(opts.file, other.opts.file) {
			return engines.Invalid("file_path already in use: invalid configuration")
		}
	}
	return nil
}

func sameFile(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

// Disable forgets the device at path, after it wrote what was handed to it. One that does not exist is no
// error. It serves `DELETE sys/audit/:path`.
func (b *Broker) Disable(ctx context.Context, path string) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	list := b.listLocked()
	i := slices.IndexFunc(list, func(d *device) bool { return d.Path == path })
	switch {
	case b.lost.Load():
		return errLostDevices
	case i < 0:
		return nil
	}
	if list[i].declared {
		return errDeclared
	}
	next := slices.Delete(slices.Clone(list), i, i+1)
	if err := b.saveLocked(ctx, next); err != nil {
		return err
	}
	b.setLocked(next)
	list[i].sink.close(b.cfg.Timeout)
	b.cfg.Logger.Info("disabled audit device", "device", path)
	return nil
}

// Hash returns what the device at path writes in place of a sensitive input, and false when there is no
// such device. It serves `POST sys/audit-hash/:path`.
func (b *Broker) Hash(path, input string) (string, bool) {
	t := b.devices.Load()
	if t == nil {
		return "", false
	}
	for _, d := range t.devices {
		if d.Path == path {
			return d.hasher.text(input), true
		}
	}
	return "", false
}

// Reopen opens the files of all devices anew, so that a log that was moved away is begun afresh (SIGHUP).
// A device whose file cannot be opened goes on with the old one; the error names all of them.
func (b *Broker) Reopen() error {
	b.changing.Lock()
	defer b.changing.Unlock()
	var errs []error
	for _, d := range b.listLocked() {
		if err := d.sink.reopen(b.cfg.Timeout); err != nil {
			errs = append(errs, fmt.Errorf("audit: device %s: %w", d.Path, err))
		}
	}
	return errors.Join(errs...)
}

// Close writes what was handed to the devices and closes their files. The storage keeps the devices. What
// is logged after Close is not recorded: ErrNotRecorded, unless there were no devices.
func (b *Broker) Close() {
	b.changing.Lock()
	defer b.changing.Unlock()
	list := b.listLocked()
	if len(list) == 0 {
		return
	}
	b.devices.Store(&table{ended: true})
	var closing sync.WaitGroup
	for _, d := range list {
		closing.Go(func() { d.sink.close(b.cfg.Timeout) })
	}
	closing.Wait()
}
