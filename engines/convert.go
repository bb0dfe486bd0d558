package engines

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
)

// assign converts raw to what dst holds, accepting the loose forms that Vault accepts: numbers and
// booleans as strings, "1h", 3600 and "3600" for a duration, a list or a comma-separated string for a
// list. Its errors name types, never values: a value may be a secret.
func assign(dst reflect.Value, k kind, raw any) error {
	switch k {
	case kindString:
		return assignString(dst, raw)
	case kindBool:
		b, err := parseBool(raw)
		dst.SetBool(b)
		return err
	case kindInt:
		n, err := parseInt(raw)
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
	case kindStringMap:
		m, err := parseStringMap(raw)
		dst.Set(reflect.ValueOf(m))
		return err
	case kindAnyMap:
		m, ok := raw.(map[string]any)
		if !ok {
			return expected("a map", raw)
		}
		dst.Set(reflect.ValueOf(m))
		return nil
	default:
		if raw != nil {
			dst.Set(reflect.ValueOf(raw))
		}
		return nil
	}
}

func expected(what string, raw any) error {
	return fmt.Errorf("expected %s, got %s", what, typeName(raw))
}

func typeName(raw any) string {
	switch raw.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number, float64, int:
		return "a number"
	case []any:
		return "a list"
	default:
		return "an object"
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
		return expected("a string", raw)
	}
	dst.SetString(s)
	return nil
}

func parseBool(raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case json.Number:
		f, err := v.Float64()
		return f != 0, err
	case string:
		if v == "" {
			return false, nil
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return false, fmt.Errorf("cannot parse %s as a boolean", "the string")
		}
		return b, nil
	default:
		return false, expected("a boolean", raw)
	}
}

func parseInt(raw any) (int64, error) {
	switch v := raw.(type) {
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return 0, fmt.Errorf("cannot parse the number as an integer")
		}
		return n, nil
	case string:
		if v == "" {
			return 0, nil
		}
		n, err := strconv.ParseInt(v, 0, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot parse the string as an integer")
		}
		return n, nil
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	default:
		return 0, expected("an integer", raw)
	}
}

func parseDuration(raw any) (time.Duration, error) {
	switch v := raw.(type) {
	case json.Number:
		raw = v.String()
	case string:
		raw = strings.TrimSpace(v)
		if raw == "" {
			return 0, nil
		}
	default:
		return 0, expected("a duration", raw)
	}
	d, err := parseutil.ParseDurationSecond(raw)
	if err != nil {
		return 0, fmt.Errorf("cannot parse the value as a duration")
	}
	if d > math.MaxInt64/2 {
		return 0, fmt.Errorf("duration is out of range")
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
		for _, item := range v {
			s, ok := scalar(item)
			if !ok {
				return nil, expected("a list of strings", item)
			}
			list = append(list, strings.TrimSpace(s))
		}
		return list, nil
	default:
		s, ok := scalar(raw)
		if !ok {
			return nil, expected("a list", raw)
		}
		list := []string{}
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		return list, nil
	}
}

// parseStringMap accepts an object of scalars, or "k=v" as a string or a list of strings.
func parseStringMap(raw any) (map[string]string, error) {
	m := make(map[string]string)
	if object, ok := raw.(map[string]any); ok {
		for k, item := range object {
			s, ok := scalar(item)
			if !ok {
				return nil, expected("a map of strings", item)
			}
			m[k] = s
		}
		return m, nil
	}
	pairs, err := parseStrings(raw)
	if err != nil {
		return nil, expected("a map", raw)
	}
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("expected key=value pairs")
		}
		m[k] = v
	}
	return m, nil
}
