package passwords

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// find returns the value of a key whose case says nothing, and how the key is spelt; "" without one. Of several
// spellings it takes the one asked for, or else the first.
func find(values map[string]any, name string) (key string, value any) {
	if value, ok := values[name]; ok {
		return name, value
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if strings.EqualFold(key, name) {
			return key, values[key]
		}
	}
	return "", nil
}

// whole is a whole number.
func whole(name string, value any) (int, error) {
	switch n := value.(type) {
	case int:
		return n, nil
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < math.MaxInt32 {
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("'%s' expected type 'int', got unconvertible type '%T', value: '%v'", name, value, value)
}

// maplist is the list of maps that blocks and JSON's objects are read to.
func maplist(value any) ([]map[string]any, error) {
	switch list := value.(type) {
	case []map[string]any:
		return list, nil
	case []any:
		var found []map[string]any
		var faults []error
		for i, element := range list {
			if m, ok := element.(map[string]any); ok {
				found = append(found, m)
			} else {
				faults = append(faults, fmt.Errorf("'[%d]' expected a map, got '%s'", i, kindOf(element)))
			}
		}
		if faults != nil {
			return nil, decoding(faults...)
		}
		return found, nil
	default:
		return nil, fmt.Errorf("'': source data must be an array or slice, got %s", kindOf(value))
	}
}

func kindOf(value any) string {
	if value == nil {
		return "nothing"
	}
	return reflect.TypeOf(value).Kind().String()
}

// decoding lists errors of values in the form in which Vault tells them.
func decoding(faults ...error) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%d error(s) decoding:\n", len(faults))
	for _, fault := range faults {
		text.WriteString("\n* " + fault.Error())
	}
	return errors.New(text.String())
}
