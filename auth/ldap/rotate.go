package ldap

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	goldap "github.com/go-ldap/ldap/v3"

	"coffer/engines"
	"coffer/storage/keylock"
)

// Refusals in Vault's words, but for the last one.
var (
	errNoAccount    = engines.Invalid("auth is not using authenticated search, no root to rotate")
	errBothRotation = rotationError("mutually exclusive fields rotation_schedule and rotation_period were both " +
		"specified; only one of them can be provided")
	errWindowPeriod = rotationError("rotation_window does not apply to period")
	errWindowAlone  = rotationError("cannot use rotation_window without rotation_schedule")
	errAutomated    = engines.Invalid("error registering rotation job: rotation manager capabilities not supported in " +
		"Vault community edition")
	errUnknown = engines.Failed("the directory did not say whether it has the new password: both are kept, and logins " +
		"use the one that is right; rotate again when the directory answers")
)

func rotationError(text string) error { return engines.Failed("1 error occurred:\n\t* %s\n\n", text) }

// scheduleFields is how many fields a schedule of cron has.
const scheduleFields = 5

// checkRotation refuses what Vault's community edition refuses: to rotate by itself.
func (p *rotationParams) checkRotation(c *config) error {
	period, window := p.Period != nil && *p.Period > 0, p.Window != nil && *p.Window > 0
	schedule := p.Schedule != nil && *p.Schedule != ""
	var fields []string
	if schedule && !strings.HasPrefix(*p.Schedule, "@") { // such as @daily
		fields = strings.Fields(*p.Schedule)
	}
	switch {
	case period && schedule:
		return errBothRotation
	case period && window:
		return errWindowPeriod
	case window && !schedule:
		return errWindowAlone
	case fields != nil && len(fields) != scheduleFields:
		return rotationError(fmt.Sprintf("failed to parse provided rotation_schedule: expected exactly %d fields, "+
			"found %d: %v", scheduleFields, len(fields), fields))
	case !c.Rotation.Disabled && (c.Rotation.Period > 0 || c.Rotation.Schedule != ""):
		return errAutomated
	}
	return nil
}

// rotateRoot gives the mount's account a new password. It is stored as the next one before the directory hears of it,
// so that whatever fails, at whatever moment, one of the two that are stored is right, and logins find out which.
func (e *engine) rotateRoot(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	return keylock.Write(ctx, e.locks, configKey, func(ctx context.Context) (*engines.Response, error) {
		c, err := e.config(ctx)
		switch {
		case err != nil:
			return nil, err
		case !c.service():
			return nil, errNoAccount
		}
		password, err := e.nextPassword(ctx, c)
		if err != nil {
			return nil, err
		}
		// From here on a client that goes away leaves nothing half done.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.requestTimeout())
		defer cancel()
		if c, err = e.settle(ctx, c); err != nil {
			return nil, err
		}
		next := *c
		next.Account.Next = engines.Bind(password, next.servers())
		if err := e.put(ctx, configKey, &next); err != nil {
			return nil, err
		}
		if err := changePassword(ctx, &next); err != nil {
			return nil, e.notRotated(ctx, c, err)
		}
		next.Account.Password, next.Account.Next = next.Account.Next, engines.Bound{}
		if err := e.put(ctx, configKey, &next); err != nil {
			return nil, fmt.Errorf("ldap: the directory has the new password, which is stored as the next one: %w", err)
		}
		return &engines.Response{}, nil
	})
}

// settle finds out which of two passwords is right when the last rotation was cut off, and stores it as the only one.
// It returns the configuration with it. The newer one is tried first: directories may take an old password for a
// while after they have a new one.
func (e *engine) settle(ctx context.Context, c *config) (*config, error) {
	if c.Account.Next.IsZero() {
		return c, nil
	}
	settled := *c
	settled.Account.Password, settled.Account.Next = c.Account.Next, engines.Bound{}
	err := settled.tryAccount(ctx)
	if goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials) {
		settled.Account.Password = c.Account.Password
		err = settled.tryAccount(ctx)
	}
	if err != nil {
		return nil, e.told(err)
	}
	return &settled, e.put(ctx, configKey, &settled)
}

// adopt stores as the only password the next one of a rotation that was cut off, after a login found it to be right
// and the other wrong: else each login would try a wrong one, and directories lock an account for that.
func (e *engine) adopt(ctx context.Context, next engines.Bound) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_, err := keylock.Write(ctx, e.locks, configKey, func(ctx context.Context) (*config, error) {
		c, err := e.config(ctx)
		if err == nil && c.Account.Next == next {
			c.Account.Password, c.Account.Next = next, engines.Bound{}
			err = e.put(ctx, configKey, c)
		}
		return c, err
	})
	if err != nil {
		e.log.Error("the bind password that is right could not be stored as the only one", slog.Any("error", err))
	}
}

// tryAccount binds as the account.
func (c *config) tryAccount(ctx context.Context) error {
	d, err := connect(ctx, c, c.rotationURLs())
	if err != nil {
		return err
	}
	defer d.close()
	return d.bindService()
}

// rotationURLs is where passwords are changed.
func (c *config) rotationURLs() string {
	if c.Rotation.URL == "" {
		return c.URLs
	}
	return c.Rotation.URL
}

// unchangedError is why a directory has certainly not changed the password.
type unchangedError struct{ error }

// changePassword sets the account's next password in the directory. It returns a unchangedError when that was
// certainly not done.
func changePassword(ctx context.Context, c *config) error {
	d, err := connect(ctx, c, c.rotationURLs())
	if err != nil {
		return unchangedError{err}
	}
	defer d.close()
	if err := d.bind(c.Account.DN, c.Account.Password.For(c.servers())); err != nil {
		return unchangedError{fmt.Errorf("%w: %w", errService, err)}
	}
	change, err := d.passwordChange()
	if err != nil {
		return unchangedError{err}
	}
	err = d.conn.Modify(change)
	var answer *goldap.Error
	if errors.As(err, &answer) && answer.ResultCode < goldap.ErrorNetwork {
		return unchangedError{err}
	}
	return err
}

// capabilityAD is what Active Directory says that it is ([MS-ADTS] 3.1.1.3.4.3.1).
const capabilityAD = "1.2.840.113556.1.4.800"

// passwordChange is the request that changes the account's password: Active Directory wants to see the old one, or it
// takes the change for an administrator's ([MS-ADTS] 3.1.1.3.1.5.1).
func (d *directory) passwordChange() (*goldap.ModifyRequest, error) {
	const supported = "supportedCapabilities"
	a, to := &d.config.Account, d.config.servers()
	change := goldap.NewModifyRequest(a.DN, nil)
	root, err := d.search("", goldap.ScopeBaseObject, anything, []string{supported}, 1, 0)
	switch {
	case goldap.IsErrorAnyOf(err, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInsufficientAccessRights):
	case err != nil:
		return nil, fmt.Errorf("ask the directory what it is: %w", err)
	case len(root) == 1 && slices.Contains(root[0].GetEqualFoldAttributeValues(supported), capabilityAD):
		change.Delete("unicodePwd", []string{unicodePassword(a.Password.For(to))})
		change.Add("unicodePwd", []string{unicodePassword(a.Next.For(to))})
		return change, nil
	}
	change.Replace("userPassword", []string{a.Next.For(to)})
	return change, nil
}

// unicodePassword is a password as Active Directory wants it: in quotes, in UTF-16 with the low byte first.
func unicodePassword(text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(`"` + text + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}

// notRotated ends a rotation that failed: before is the configuration that it began with. What the directory did not
// change is forgotten; of what nobody knows both passwords stay.
func (e *engine) notRotated(ctx context.Context, before *config, err error) error {
	var refused unchangedError
	if !errors.As(err, &refused) {
		e.log.Error("the directory did not say whether it has the new bind password", slog.Any("error", err))
		return errUnknown
	}
	// The directory may have taken all the time there was.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return errors.Join(e.told(err), e.put(ctx, configKey, before))
}

// storeTimeout is how long it may take to store what became of a rotation.
const storeTimeout = 10 * time.Second

// told is what an operator learns of a rotation that the directory refused: the name of its reason, as the protocol
// has it. All the rest is for the log.
func (e *engine) told(err error) error {
	e.log.Error("the bind password was not rotated", slog.Any("error", err))
	var answer *goldap.Error
	if errors.As(err, &answer) && answer.ResultCode < goldap.ErrorNetwork {
		return engines.Failed("the LDAP directory refuses it: LDAP Result Code %d %q", answer.ResultCode,
			goldap.LDAPResultCodeMap[answer.ResultCode])
	}
	return errTrouble
}

// Unwrap is what happened.
func (r unchangedError) Unwrap() error { return r.error }

const (
	passwordLength   = 64
	passwordAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// nextPassword is a new one by the mount's password policy, or without one by newPassword.
func (e *engine) nextPassword(ctx context.Context, c *config) (string, error) {
	if c.Rotation.PasswordPolicy == "" {
		return newPassword(), nil
	}
	return e.passwords.Password(ctx, c.Rotation.PasswordPolicy)
}

// newPassword is a random one, of 384 bits, with characters of each kind that directories ask for.
func newPassword() string {
	for {
		var b [passwordLength]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		for i := range b {
			b[i] = passwordAlphabet[b[i]%byte(len(passwordAlphabet))] // of 64, which divides 256
		}
		text := string(b[:])
		if strings.ContainsAny(text, passwordAlphabet[:26]) && strings.ContainsAny(text, passwordAlphabet[26:52]) &&
			strings.ContainsAny(text, passwordAlphabet[52:62]) && strings.ContainsAny(text, passwordAlphabet[62:]) {
			return text
		}
	}
}
