package mfa

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"coffer/engines"
	"coffer/storage/keylock"
)

// Factors are what a client shows: for the id or name of a method its codes.
type Factors map[string][]string

// header is where a client shows factors together with its login: "method:code".
const header = "X-Vault-Mfa"

// ParseHeader reads the factors in a request's headers; nil for none. It returns an ErrInvalid.
func ParseHeader(h http.Header) (Factors, error) {
	values := h[header]
	if len(values) == 0 {
		return nil, nil //nolint:nilnil // nearly no request has any
	}
	f := make(Factors)
	for _, value := range values {
		if value == "" {
			continue
		}
		name, code, given := strings.Cut(value, ":")
		switch {
		case !given:
			if f[name] == nil {
				f[name] = []string{}
			}
			continue
		case name == "":
			return nil, errHeader("name or ID")
		case code == "":
			return nil, errHeader("value")
		}
		f[name] = append(f[name], code)
	}
	return f, nil
}

func errHeader(missing string) error {
	return engines.Invalid(`failed to parse X-Vault-MFA header: invalid data in header "X-Vault-MFA"; missing method %s`,
		missing)
}

// ParsePayload reads the factors in a request to validate a login. It returns an ErrInvalid.
func ParsePayload(payload map[string]any) (Factors, error) {
	f := make(Factors, len(payload))
	for name, value := range payload {
		switch value := value.(type) {
		case nil:
		case string:
			f[name] = []string{value}
		case []any:
			list := make([]string, 0, len(value))
			for _, v := range value {
				text, ok := v.(string)
				if !ok {
					return nil, errPayload
				}
				list = append(list, text)
			}
			f[name] = list
		default:
			return nil, errPayload
		}
	}
	return f, nil
}

var errPayload = engines.Invalid("invalid mfa payload")

// refusal is why a factor is not good enough, in the words that the client may read. Anything else that goes wrong
// is not the client's to know.
type refusal string

func (r refusal) Error() string { return string(r) }

// errCode refuses a code, whatever is wrong with it.
const errCode = refusal("failed to validate TOTP passcode")

// Satisfy checks that the factors of an entity are what is demanded. It returns an ErrDenied that says what is
// missing; any other error is the server's own. Codes that were right are used up, also when others were not.
func (s *Store) Satisfy(ctx context.Context, d *Demand, entity string, f Factors) error {
	for _, e := range d.enforcements {
		err := s.satisfy(ctx, e, entity, f)
		var why refusal
		switch {
		case errors.As(err, &why):
			return engines.Denied("failed to satisfy enforcement %s. error: %s", e.Name, why)
		case err != nil:
			return err
		}
	}
	return nil
}

// satisfy takes the first method of an enforcement whose factor is right.
func (s *Store) satisfy(ctx context.Context, e *enforcement, entity string, f Factors) error {
	var absent, wrong []string
	tried := false
	for _, id := range e.Methods {
		m, err := s.method(ctx, id)
		if err != nil {
			return err
		}
		if m == nil {
			absent = append(absent, "failed to find MFA config for method ID "+id)
			continue
		}
		shown, ok := f[id]
		if !ok && m.Name != "" {
			shown, ok = f[m.Name]
		}
		if !ok {
			absent = append(absent, fmt.Sprintf(
				"failed to find MFA credentials associated with an MFA method ID %s, method name %s", id, m.Name))
			continue
		}
		tried = true
		err = s.check(ctx, m, entity, shown)
		var why refusal
		switch {
		case err == nil:
			return nil
		case errors.As(err, &why):
			wrong = append(wrong, string(why))
		default:
			return err
		}
	}
	if !tried && len(absent) > 0 {
		return refusal("failed to sanitize MFA creds, " + engines.Numbered(absent...))
	}
	wrong = append(wrong, fmt.Sprintf("login MFA validation failed for methodID: %v", e.Methods))
	return refusal(engines.Numbered(wrong...))
}

// check takes what was shown for a method as an entity's code. A code that is right is used up in storage before
// anybody hears of it, so that it is not right again after a restart.
func (s *Store) check(ctx context.Context, m *method, entity string, shown []string) error {
	code, err := passcode(shown)
	if err != nil {
		return err
	}
	_, err = keylock.Write(ctx, s.secrets, secretKey(m.ID, entity), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.checkLocked(ctx, m, entity, code)
	})
	return err
}

func (s *Store) checkLocked(ctx context.Context, m *method, entity, code string) error {
	key := secretKey(m.ID, entity)
	mine, err := s.readSecret(ctx, m.ID, entity)
	if entity == "" || errors.Is(err, errNoSecret) {
		return refusal(fmt.Sprintf("MFA secret for method ID %q not present in entity %q or cached MFA auth response",
			m.ID, entity))
	}
	if err != nil {
		return err
	}
	switch {
	case code == "":
		return refusal("MFA credentials not supplied")
	case len(code) != mine.Codes.Digits:
		return errCode // spaces are no part of a code: there is one spelling of it
	}
	period := time.Duration(mine.Codes.Period) * time.Second
	if !s.attempts.take(key, m.MaxAttempts, period, s.cfg.Now()) {
		return refusal(fmt.Sprintf("maximum TOTP validation attempts %d exceeded the allowed attempts %d. "+
			"Please try again in %v seconds", m.MaxAttempts+1, m.MaxAttempts, period))
	}
	now := s.cfg.Wall()
	step, err := mine.step(code, now)
	if err != nil {
		s.warnAhead(m, entity, mine, now)
		return err
	}
	used := *mine
	used.Used = step
	b, err := encode(used)
	if err != nil {
		return err
	}
	if err := s.putSecret(ctx, m.ID, entity, b); err != nil {
		return err
	}
	s.attempts.clear(key)
	return nil
}

// warnAhead tells in the log why codes are refused that are right now: a later one was used while the clock was ahead.
// It does not look at the code, so that who tries codes learns nothing from the time it takes.
func (s *Store) warnAhead(m *method, entity string, mine *secret, now time.Time) {
	period := int64(mine.Codes.Period)
	if mine.Used <= now.Unix()/period+int64(mine.Codes.Skew) {
		return
	}
	s.cfg.Logger.Warn("a TOTP code is refused: the last one that was used is of a later time, when the clock was ahead; "+
		"until then all are refused, or until the secret is destroyed and made anew",
		slog.String("method_id", m.ID), slog.String("entity_id", entity),
		slog.Time("used", time.Unix(mine.Used*period, 0)), slog.Time("clock", now))
}

// passcode is the one code among what was shown; "" for none.
func passcode(shown []string) (code string, err error) {
	for _, text := range shown {
		if text == "" {
			continue
		}
		text, named := strings.CutPrefix(text, "passcode=")
		switch {
		case code != "":
			return "", refusal("failed to parse MFA factor, found multiple passcodes for the same MFA method")
		case named && text == "":
			return "", refusal("failed to parse MFA factor, invalid passcode")
		case !named && strings.Contains(text, "="):
			return "", refusal("failed to parse MFA factor, found an invalid MFA cred: " + text)
		}
		code = text
	}
	return code, nil
}

// step is the time step, later than all that were used, whose code it is; errCode for none. Every step that could
// be meant is compared, in time that does not depend on the code.
func (s *secret) step(code string, now time.Time) (int64, error) {
	current, found := now.Unix()/int64(s.Codes.Period), int64(-1)
	for step := current - int64(s.Codes.Skew); step <= current+int64(s.Codes.Skew); step++ {
		if step < 0 {
			continue
		}
		want, err := hotp.GenerateCodeCustom(s.Key, uint64(step), hotp.ValidateOpts{
			Digits: otp.Digits(s.Codes.Digits), Algorithm: algorithm(s.Codes.Algorithm),
		})
		if err != nil {
			return 0, fmt.Errorf("mfa: compute a code: %w", err)
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > s.Used && found < 0 {
			found = step
		}
	}
	if found < 0 {
		return 0, errCode
	}
	return found, nil
}
