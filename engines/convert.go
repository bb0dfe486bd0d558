package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
)

// assign converts raw to what dst holds, accepting the loose forms that Vault accepts: numbers and
// booleans as strings, "1h", 3600 and "3600" for a duration, a list or a comma-separated string for a
// list. Its errors are in the words of Vault's; they repeat a value only where it should have been a
// number, a boolean or a duration, and only a short one.
func assign(dst reflect.Value, k kind, raw any) error {
	switch k {
	case kindString:
		return assignString(dst, raw)
	case kindBool:
		b, err := parseBool(raw)
		dst.SetBool(b)
		return err
	case kindInt:
		n, err := ParseInt(raw)
		if err == nil && dst.OverflowInt(n) {
			err = errIntRange
		}
		dst.SetInt(n)
		return err
	case kindDuration:
		d, err := parseDuration(raw)
		dst.SetInt(int64(d))
		return err
	case kindStrings:
		list, err := parseStrings(raw)
		dst.Set(reflect.ValueOf(list))
		return err
	case kindInts:
		list, err := parseInts(raw)
		dst.Set(reflect.ValueOf(list))
		return err
	case kindStringMap:
		m, err := parseStringMap(raw)
		dst.Set(reflect.ValueOf(m))
		return err
	case kindAnyMap:
		m, err := parseAnyMap(raw)
		dst.Set(reflect.ValueOf(m))
		return err
	default:
		if raw != nil {
			dst.Set(reflect.ValueOf(raw))
		}
		return nil
	}
}

// scalar gives the text of a string, number or boolean.
func scalar(raw any) (string, bool) {
	switch v := raw.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "1", true
		}
		return "0", true
	default:
		return "", false
	}
}

func assignString(dst reflect.Value, raw any) error {
	s, ok := scalar(raw)
	if !ok {
		return unconvertible("", "string", raw)
	}
	dst.SetString(s)
	return nil
}

func parseBool(raw any) (bool, error) {
	text, ok := raw.(string)
	switch v := raw.(type) {
	case bool:
		return v, nil
	case json.Number:
		text, ok = v.String(), true
	}
	if !ok {
		return false, unconvertible("", "bool", raw)
	}
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	return b, malformed("", "bool", err)
}

// errIntRange is returned for a number that this machine's int cannot hold.
var errIntRange = errors.New("integer is out of range")

// ParseInt reads an integer as Vault's clients send it: 12, "12", "0xc"; true is 1, "" and null are 0.
func ParseInt(raw any) (int64, error) {
	if raw == nil {
		return 0, nil
	}
	return parseIntAt("", raw)
}

// parseIntAt names the place in a list, for example "[0]", in its error.
func parseIntAt(place string, raw any) (int64, error) {
	text, ok := raw.(string)
	switch v := raw.(type) {
	case json.Number:
		text, ok = v.String(), true
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	}
	if !ok {
		return 0, unconvertible(place, "int", raw)
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 0, 64)
	return n, malformed(place, "int", err)
}

// malformed describes an error of strconv.
func malformed(place, want string, err error) error {
	if err == nil {
		return nil
	}
	var numeric *strconv.NumError
	most := maxEchoed
	if errors.Is(err, strconv.ErrRange) {
		most = maxRange
	}
	if errors.As(err, &numeric) && len(numeric.Num) > most {
		return fmt.Errorf("cannot parse '%s' as %s: strconv.%s: %w", place, want, numeric.Func, numeric.Err)
	}
	return fmt.Errorf("cannot parse '%s' as %s: %w", place, want, err)
}

// maxEchoed is how many bytes of a value an error repeats at most: enough for a slip of the pen, less than
// a secret that went into the wrong field.
const maxEchoed = 12

// maxRange is how many bytes an error repeats of a number that is too large, which is no secret.
const maxRange = 64

func unconvertible(place, want string, raw any) error {
	value := "..."
	if JSONSize(raw) <= 16*maxEchoed { // in another form it is shorter, but not so much
		if short := fmt.Sprint(raw); len(short) <= maxEchoed {
			value = short
		}
	}
	return fmt.Errorf("'%s' expected type '%s', got unconvertible type '%T', value: '%s'", place, want, raw, value)
}

// inList is the form of an error in an element.
func inList(err error) error { return fmt.Errorf("1 error(s) decoding:\n\n* %w", err) }

// parseInts accepts a list of integers, one integer, or several in a string separated by commas.
func parseInts(raw any) ([]int, error) {
	items, ok := raw.([]any)
	if text, isText := raw.(string); isText {
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				items = append(items, part)
			}
		}
	} else if !ok {
		items = []any{raw}
	}
	list := make([]int, 0, len(items))
	for i, item := range items {
		n, err := parseIntAt(fmt.Sprintf("[%d]", i), item)
		if err != nil {
			return nil, inList(err)
		}
		if n < math.MinInt || n > math.MaxInt {
			return nil, inList(errIntRange)
		}
		list = append(list, int(n))
	}
	return list, nil
}

// parseAnyMap accepts an object, or a list of objects, of which later ones win.
func parseAnyMap(raw any) (map[string]any, error) {
	switch v := raw.(type) {
	case map[string]any:
		return v, nil
	case []any:
		m := make(map[string]any)
		for i, item := range v {
			part, ok := item.(map[string]any)
			if !ok {
				return nil, notMap(fmt.Sprintf("[%d]", i), item)
			}
			maps.Copy(m, part)
		}
		return m, nil
	default:
		return nil, notMap("", raw)
	}
}

func notMap(place string, raw any) error {
	kind := "invalid"
	if raw != nil {
		kind = reflect.TypeOf(raw).Kind().String()
	}
	return fmt.Errorf("'%s' expected a map, got '%s'", place, kind)
}

// errDuration is returned for what is neither a number nor a string.
var errDuration = errors.New("could not parse duration from input")

// MaxDuration bounds durations that come in, 146 years: a sum of two is a duration still, and a time that lies so far
// from now can be stored in nanoseconds.
const MaxDuration time.Duration = math.MaxInt64 / 2

// errDurationRange is returned for a duration beyond MaxDuration.
var errDurationRange = errors.New("duration is out of range")

// Seconds is a number of seconds as a duration, or an error beyond MaxDuration.
func Seconds(n int64) (time.Duration, error) {
	if limit := int64(MaxDuration / time.Second); n > limit || n < -limit {
		return 0, errDurationRange
	}
	return time.Duration(n) * time.Second, nil
}

// WholeSeconds is a duration as answers give it, without fractions.
func WholeSeconds(d time.Duration) int64 { return int64(d / time.Second) }

// ParseDuration reads a duration as Vault's clients send it: 3600, "3600", "1h", "2d"; "" is 0. It may be
// negative. Beyond MaxDuration it is an error.
func ParseDuration(raw any) (time.Duration, error) {
	var text string
	switch v := raw.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return 0, errDuration
	}
	if text == "" {
		return 0, nil
	}
	d, err := parseutil.ParseDurationSecond(text)
	if err != nil && len(text) > maxEchoed {
		return 0, errDuration
	}
	if err == nil && (d > MaxDuration || d < -MaxDuration) {
		return 0, errDurationRange
	}
	return d, err //nolint:wrapcheck // the text is the protocol's
}

func parseDuration(raw any) (time.Duration, error) {
	d, err := ParseDuration(raw)
	if err != nil {
		return 0, err
	}
	if d < 0 {
		return 0, fmt.Errorf("cannot provide negative value '%d'", int64(d/time.Second))
	}
	return d, nil
}

func parseStrings(raw any) ([]string, error) {
	switch v := raw.(type) {
	case []any:
		list := make([]string, 0, len(v))
		for i, item := range v {
			s, ok := scalar(item)
			if !ok {
				return nil, inList(unconvertible(fmt.Sprintf("[%d]", i), "string", item))
			}
			list = append(list, strings.TrimSpace(s))
		}
		return list, nil
	default:
		s, ok := scalar(raw)
		if !ok {
			return nil, inList(unconvertible("[0]", "string", raw))
		}
		return splitList(s), nil
	}
}

// splitList are the parts of a text between commas, without white space around them; empty ones are left out.
func splitList(text string) []string {
	list := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// parseStringMap accepts an object of scalars, in which null is "", or "k=v" as a string or a list of strings.
func parseStringMap(raw any) (map[string]string, error) {
	m := make(map[string]string)
	if object, ok := raw.(map[string]any); ok {
		for k, item := range object {
			s, ok := scalar(item)
			if !ok && item != nil {
				return nil, inList(unconvertible("[0]", "string", item))
			}
			m[k] = s
		}
		return m, nil
	}
	items, ok := raw.([]any)
	if !ok {
		items = []any{raw}
	}
	for i, item := range items {
		pair, ok := scalar(item)
		if !ok {
			return nil, inList(unconvertible(fmt.Sprintf("[%d]", i), "string", item))
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, invalidPair(pair)
		}
		if _, twice := m[k]; twice {
			return nil, errTwice
		}
		m[k] = v
	}
	return m, nil
}

// errTwice is returned for pairs of which only one could be kept.
var errTwice = errors.New("a key is there twice")

func invalidPair(pair string) error {
	if len(pair) > maxEchoed {
		return errors.New("invalid key pair: no key=value")
	}
	return fmt.Errorf("invalid key pair %q", pair)
}
