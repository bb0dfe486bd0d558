package cli

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdSetenvFromJSON is "setenv-from-json NAME PATH": it sets the variable NAME to the value at PATH of the JSON that
// the last command printed. PATH is dotted; a number is an index of a list.
func cmdSetenvFromJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setenv-from-json name path")
	}
	value, err := jsonAt(ts.ReadFile("stdout"), args[1])
	ts.Check(err)
	of(ts).setenv(ts, args[0], value)
}

// cmdJSONIs is "json-is PATH VALUE": the JSON that the last command printed has (with "!": has not) VALUE at PATH.
func cmdJSONIs(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] json-is path value")
	}
	value, err := jsonAt(ts.ReadFile("stdout"), args[0])
	if neg {
		if err == nil && value == args[1] {
			ts.Fatalf("%s is %s", args[0], value)
		}
		return
	}
	ts.Check(err)
	if value != args[1] {
		ts.Fatalf("%s is %s, want %s", args[0], value, args[1])
	}
}

// cmdSetenvFromStdout is "setenv-from-stdout NAME PATTERN": it sets the variable NAME to the first group of PATTERN in
// what the last command printed.
func cmdSetenvFromStdout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setenv-from-stdout name pattern")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	m := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("no group of %q in the output", args[1])
	}
	of(ts).setenv(ts, args[0], m[1])
}

// jsonAt is the value at a dotted path: a string as it is, everything else as compact JSON.
func jsonAt(text, path string) (string, error) {
	var v any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", fmt.Errorf("the output is no JSON: %w", err)
	}
	for step := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[step]
			if !ok {
				return "", fmt.Errorf("%s: no %q", path, step)
			}
			v = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(node) {
				return "", fmt.Errorf("%s: no element %q", path, step)
			}
			v = node[i]
		default:
			return "", fmt.Errorf("%s: nothing below %q", path, step)
		}
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	encoded, err := json.Marshal(v)
	return string(encoded), err
}

func TestJSONAt(t *testing.T) {
	const text = `{"a":{"b":["x",2,null,{"c":true}]},"n":12345678901234567890}`
	for _, test := range []struct {
		path, want string
		fails      bool
	}{
		{path: "a.b.0", want: "x"},
		{path: "a.b.1", want: "2"},
		{path: "a.b.2", want: "null"},
		{path: "a.b.3", want: `{"c":true}`},
		{path: "n", want: "12345678901234567890"},
		{path: "a.x", fails: true},
		{path: "a.b.9", fails: true},
		{path: "n.x", fails: true},
	} {
		got, err := jsonAt(text, test.path)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("jsonAt(%q) = %q, %v; want %q, failing %t", test.path, got, err, test.want, test.fails)
		}
	}
}
