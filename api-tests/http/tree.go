package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// errNotJSON is returned for bodies that are not one JSON value.
var errNotJSON = errors.New("not one JSON value")

// node is a JSON value that remembers the order of its keys and the spelling of its literals.
type node struct {
	kind    byte   // '{', '[' or 0 for a literal.
	literal string // As sent, quotes included.
	members []member
}

// member is an entry of an object, or of an array (without a key).
type member struct {
	key   string // Decoded.
	value *node
}

// maxTreeDepth bounds the recursion of parseTree.
const maxTreeDepth = 500

// parseTree reads exactly one JSON value. Any error is errNotJSON.
func parseTree(data []byte) (*node, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	root, err := parseNode(dec, data, maxTreeDepth)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotJSON
	}
	return root, nil
}

func parseNode(dec *json.Decoder, data []byte, depth int) (*node, error) {
	start := dec.InputOffset()
	tok, err := dec.Token()
	if err != nil || depth == 0 {
		return nil, errNotJSON
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		raw := data[start:dec.InputOffset()]
		return &node{literal: string(bytes.TrimLeft(raw, " \t\r\n,:"))}, nil
	}
	n := &node{kind: byte(delim)}
	if n.kind != '{' && n.kind != '[' {
		return nil, errNotJSON
	}
	for dec.More() {
		var m member
		if n.kind == '{' {
			key, err := dec.Token()
			if err != nil {
				return nil, errNotJSON
			}
			m.key, _ = key.(string)
		}
		if m.value, err = parseNode(dec, data, depth-1); err != nil {
			return nil, err
		}
		n.members = append(n.members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotJSON
	}
	return n, nil
}

// text is the value of a string literal; ok is false for everything else.
func (n *node) text() (value string, ok bool) {
	if n.kind != 0 || !strings.HasPrefix(n.literal, `"`) {
		return "", false
	}
	if json.Unmarshal([]byte(n.literal), &value) != nil {
		return "", false
	}
	return value, true
}

// setText makes n a string literal. Marks such as <uuid> stay readable: nothing is escaped that need not be.
func (n *node) setText(value string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		panic(err) // a string can always be encoded
	}
	*n = node{literal: strings.TrimRight(b.String(), "\n")}
}

func (n *node) write(b *strings.Builder, indent string) {
	if n.kind == 0 {
		b.WriteString(n.literal)
		return
	}
	closing := map[byte]string{'{': "}", '[': "]"}[n.kind]
	b.WriteByte(n.kind)
	for i, m := range n.members {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  " + indent)
		if n.kind == '{' {
			key := &node{}
			key.setText(m.key)
			b.WriteString(key.literal + ": ")
		}
		m.value.write(b, indent+"  ")
	}
	if len(n.members) > 0 {
		b.WriteString("\n" + indent)
	}
	b.WriteString(closing)
}

func (n *node) String() string {
	var b strings.Builder
	n.write(&b, "")
	return b.String()
}

// jsonPath is a list of keys and indexes; "*" stands for all members.
type jsonPath []string

// parsePath reads .a.b, .a[0], .a["b/c"].d and .a.*.
func parsePath(text string) (jsonPath, error) {
	bad := fmt.Errorf("%w: path %q", ErrScript, text)
	var path jsonPath
	for rest := text; rest != ""; {
		switch {
		case strings.HasPrefix(rest, `["`):
			key, after, ok := strings.Cut(rest[2:], `"]`)
			if !ok {
				return nil, bad
			}
			path, rest = append(path, key), after
		case strings.HasPrefix(rest, "["):
			index, after, ok := strings.Cut(rest[1:], "]")
			if _, err := strconv.Atoi(index); err != nil || !ok {
				return nil, bad
			}
			path, rest = append(path, index), after
		case strings.HasPrefix(rest, "."):
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			if end == 1 {
				return nil, bad
			}
			path, rest = append(path, rest[1:end]), rest[end:]
		default:
			return nil, bad
		}
	}
	return path, nil
}

// find returns the values at path, none when there are none.
func (n *node) find(path jsonPath) []*node {
	if len(path) == 0 {
		return []*node{n}
	}
	var found []*node
	for i, m := range n.members {
		name := m.key
		if n.kind == '[' {
			name = strconv.Itoa(i)
		}
		if name == path[0] || path[0] == "*" {
			found = append(found, m.value.find(path[1:])...)
		}
	}
	return found
}

// sortMembers orders an array by the text of its members.
func (n *node) sortMembers() {
	slices.SortFunc(n.members, func(a, b member) int { return strings.Compare(a.value.String(), b.value.String()) })
}
