package kv

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"coffer/engines"
)

// Limits of custom_metadata.
const (
	maxCustomKeys   = 64
	maxCustomKey    = 128 // bytes
	maxCustomValue  = 512 // bytes
	maxCustomMerged = 1024
)

// customMetadata returns the values as text, numbers and booleans included, after checking the limits.
// With patch set null is left out.
func customMetadata(custom map[string]any, patch bool) (map[string]any, error) {
	texts := make(map[string]any, len(custom))
	if len(custom) > maxCustomKeys {
		return nil, customError(fmt.Sprintf("payload must contain at most %d keys, provided %d", maxCustomKeys, len(custom)))
	}
	var problems []string
	for _, key := range slices.Sorted(maps.Keys(custom)) {
		if custom[key] == nil && patch {
			continue
		}
		text, err := customText(custom[key])
		if err != nil {
			return nil, err
		}
		problems = append(problems, customProblems(key, text)...)
		texts[key] = text
	}
	if len(problems) > 0 {
		return nil, customError(problems...)
	}
	return texts, nil
}

func customText(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		if v {
			return "1", nil
		}
		return "0", nil
	default:
		return "", engines.Invalid("custom_metadata validation failed: '' expected type 'string', got unconvertible "+
			"type '%T', value: '%.64s'", value, fmt.Sprint(value))
	}
}

func customProblems(key, value string) []string {
	var problems []string
	if len(key) == 0 || len(key) > maxCustomKey {
		problems = append(problems, fmt.Sprintf("length of key %q is %d but must be 0 < len(key) <= %d",
			key, len(key), maxCustomKey))
	}
	if len(value) == 0 || len(value) > maxCustomValue {
		problems = append(problems, fmt.Sprintf("length of value for key %q is %d but must be 0 < len(value) <= %d",
			key, len(value), maxCustomValue))
	}
	if !printable(key) {
		problems = append(problems, fmt.Sprintf("key %q (%s) contains unprintable characters", key, key))
	}
	if !printable(value) {
		problems = append(problems, fmt.Sprintf("value for key %q contains unprintable characters", key))
	}
	return problems
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func customError(problems ...string) error {
	var b strings.Builder
	if len(problems) == 1 {
		b.WriteString("1 error occurred:")
	} else {
		fmt.Fprintf(&b, "%d errors occurred:", len(problems))
	}
	for _, problem := range problems {
		b.WriteString("\n\t* custom_metadata validation failed: " + problem)
	}
	b.WriteString("\n\n")
	return engines.Invalid("%s", b.String())
}

// mergeCustom applies a merge patch to custom_metadata; nil removes all of it.
func (e *entry) mergeCustom(patch map[string]any) error {
	if patch == nil {
		e.Custom = nil
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(patch)) {
		var kind string
		switch patch[key].(type) {
		case json.Number:
			kind = "number"
		case bool:
			kind = "bool"
		default:
			continue
		}
		return engines.Failed("%s", engines.Numbered("json: cannot unmarshal "+kind+
			" into Go struct field KeyMetadata.custom_metadata of type string"))
	}
	var old map[string]any
	if len(e.Custom) > 0 {
		if err := json.Unmarshal(e.Custom, &old); err != nil {
			return errRecord
		}
	}
	merged := merge(old, patch)
	if len(merged) > maxCustomMerged {
		return customError(fmt.Sprintf("payload must contain at most %d keys, provided %d", maxCustomMerged, len(merged)))
	}
	e.Custom = nil
	if len(merged) == 0 {
		return nil
	}
	var err error
	e.Custom, err = appendObject(nil, merged)
	return err
}
