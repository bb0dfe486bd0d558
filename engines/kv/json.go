package kv

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"coffer/engines"
)

// appendCanonical appends value as encoding/json would write it after reading it into a map: sorted keys,
// HTML escaped, numbers as appendNumber writes them. What is stored in this form is sent as it is.
func appendCanonical(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return engines.AppendText(b, v), nil
	case json.Number:
		return appendNumber(b, string(v)), nil
	case []any:
		return appendList(b, v)
	case map[string]any:
		return appendObject(b, v)
	default:
		return nil, fmt.Errorf("kv: no JSON for a %T", value)
	}
}

func appendList(b []byte, list []any) ([]byte, error) {
	b = append(b, '[')
	for i, item := range list {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendCanonical(b, item); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendObject(b []byte, object map[string]any) ([]byte, error) {
	var few [16]string
	keys := slices.AppendSeq(few[:0], maps.Keys(object))
	slices.Sort(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(engines.AppendText(b, key), ':')
		var err error
		if b, err = appendCanonical(b, object[key]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendTimeText appends a time as a JSON string, "" for none.
func appendTimeText(b []byte, t time.Time) []byte {
	b = append(b, '"')
	if !t.IsZero() {
		b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	}
	return append(b, '"')
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// appendVersion appends the object that describes a version in the answers below data/ and subkeys/.
func appendVersion(b []byte, n uint64, v *version, custom []byte) []byte {
	b = appendTimeText(append(b, `{"created_time":`...), v.Created)
	b = append(b, `,"custom_metadata":`...)
	b = appendCustom(b, custom)
	b = appendTimeText(append(b, `,"deletion_time":`...), v.Deletion)
	b = strconv.AppendBool(append(b, `,"destroyed":`...), v.Destroyed)
	b = strconv.AppendUint(append(b, `,"version":`...), n, 10)
	return append(b, '}')
}

func appendCustom(b, custom []byte) []byte {
	if len(custom) == 0 {
		return append(b, "null"...)
	}
	return append(b, custom...)
}

// versionData is the same as a response's data.
func versionData(n uint64, v *version, custom []byte) map[string]any {
	return map[string]any{
		"created_time":    timeText(v.Created),
		"custom_metadata": json.RawMessage(appendCustom(nil, custom)),
		"deletion_time":   timeText(v.Deletion),
		"destroyed":       v.Destroyed,
		"version":         json.RawMessage(strconv.AppendUint(nil, n, 10)),
	}
}

// appendAttribution appends who did what; its members come in this order, empty ones left out.
func appendAttribution(b []byte, a attribution) []byte {
	if a.Operation == opNone {
		return append(b, "null"...)
	}
	b = engines.AppendText(append(b, `{"actor":`...), a.Name)
	b = engines.AppendText(append(b, `,"operation":`...), a.Operation.String())
	if a.EntityID != "" {
		b = engines.AppendText(append(b, `,"entity_id":`...), a.EntityID)
	}
	if a.ClientID != "" {
		b = engines.AppendText(append(b, `,"client_id":`...), a.ClientID)
	}
	return append(b, '}')
}

// sizeOfVersion is about what a version takes in memory while it is shown, in bytes of a Budget, without its JSON.
const sizeOfVersion = 320 / 4

// sizeOfVersions is how long the JSON of versions is at most.
func sizeOfVersions(versions []version) int {
	const frame = 190 // the names of members, a number, two times and the marks
	size := len(`{}`)
	for i := range versions {
		size += frame + versions[i].CreatedBy.size() + versions[i].DeletedBy.size()
	}
	return size
}

// size is how long the JSON of an attribution is at most.
func (a *attribution) size() int {
	if a.Operation == opNone {
		return len("null")
	}
	const frame = 70 // the names of members, an operation and the marks
	return frame + engines.TextSize(a.Name) + engines.TextSize(a.EntityID) + engines.TextSize(a.ClientID)
}

// appendVersions appends the history of a secret, of which the oldest version has the number first. Its members are
// sorted as text: 1, 10, 2.
func appendVersions(b []byte, first uint64, versions []version) []byte {
	numbers := make([]string, len(versions))
	for i := range numbers {
		numbers[i] = strconv.FormatUint(first+uint64(i), 10)
	}
	slices.Sort(numbers)
	b = append(b, '{')
	for i, number := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil { // it was formatted above
			continue
		}
		v := &versions[n-first]
		b = append(engines.AppendText(b, number), ':')
		b = appendAttribution(append(b, `{"created_by":`...), v.CreatedBy)
		b = appendTimeText(append(b, `,"created_time":`...), v.Created)
		b = appendAttribution(append(b, `,"deleted_by":`...), v.DeletedBy)
		b = appendTimeText(append(b, `,"deletion_time":`...), v.Deletion)
		b = strconv.AppendBool(append(b, `,"destroyed":`...), v.Destroyed)
		b = append(b, '}')
	}
	return append(b, '}')
}
