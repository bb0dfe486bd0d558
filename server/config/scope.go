package config

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
)

// scope reads the keys of one block into typed fields. Each reader consumes its key; finish reports the
// keys that nobody read. A key that is absent, or wrong, leaves its destination as it is.
type scope struct {
	// path is the block's name in messages, such as "listener.tcp"; "" for the file itself.
	path string
	// label is the block's type: "tcp" in `listener "tcp" {}`.
	label string
	pos   Position
	// entries holds what has not been read yet, by lower-case key; read holds the places of the rest.
	entries map[string][]entry
	read    map[string]Position
	// asked are the keys that a reader looked for, there or not.
	asked  []string
	report *report
}

func newScope(path, label string, pos Position, entries []entry, rep *report) *scope {
	s := &scope{path: path, label: label, pos: pos, report: rep}
	s.entries = make(map[string][]entry, len(entries))
	s.read = make(map[string]Position, len(entries))
	for _, e := range entries {
		// HCL's decoder, and so Vault, does not tell upper case from lower.
		key := strings.ToLower(e.key)
		s.entries[key] = append(s.entries[key], e)
	}
	return s
}

func (s *scope) name(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

// place is where key stands, or the block when the key is absent.
func (s *scope) place(key string) Position {
	if pos, ok := s.read[key]; ok {
		return pos
	}
	return s.pos
}

func (s *scope) fail(key, format string, args ...any) {
	s.report.fail(s.place(key), s.name(key), format, args...)
}

func (s *scope) warn(key, format string, args ...any) {
	s.report.warn(s.place(key), s.name(key), format, args...)
}

// said reports whether something is known to be wrong with key.
func (s *scope) said(key string) bool {
	place, name := s.place(key), s.name(key)
	return slices.ContainsFunc(s.report.errs, func(e *Error) bool { return e.Key == name && e.Position == place })
}

// takeAll consumes every entry of key.
func (s *scope) takeAll(key string) []entry {
	s.asked = append(s.asked, key)
	entries := s.entries[key]
	delete(s.entries, key)
	if len(entries) > 0 {
		s.read[key] = entries[len(entries)-1].pos
	}
	return entries
}

// take consumes a key that may be set once in each file; the last file wins.
func (s *scope) take(key string) (entry, bool) {
	entries := s.takeAll(key)
	if len(entries) == 0 {
		return entry{}, false
	}
	for i, e := range entries[1:] {
		if e.pos.File == entries[i].pos.File {
			s.report.fail(e.pos, s.name(key), "set twice; first on line %d", entries[i].pos.Line)
			return entry{}, false
		}
	}
	return entries[len(entries)-1], true
}

// scalar consumes a key whose value is one of kinds. A JSON null counts as absent.
func (s *scope) scalar(key, expected string, kinds ...kind) (value, bool) {
	e, ok := s.take(key)
	if !ok || e.value.kind == kindNull {
		return value{}, false
	}
	if len(e.labels) > 0 || !slices.Contains(kinds, e.value.kind) {
		s.fail(key, "expected %s, got %s", expected, e.value.kind)
		return value{}, false
	}
	return e.value, true
}

func (s *scope) str(key string, dst *string) {
	v, ok := s.scalar(key, "a string", kindString)
	switch {
	case !ok:
	case strings.Contains(v.text, "${"):
		s.fail(key, "variables are not expanded in a configuration; write the value itself")
	default:
		*dst = v.text
	}
}

func (s *scope) boolean(key string, dst *bool) {
	if b := s.optional(key); b != nil {
		*dst = *b
	}
}

// optional is a boolean, nil when the key is absent or wrong.
func (s *scope) optional(key string) *bool {
	const expected = "true or false"
	v, ok := s.scalar(key, expected, kindBool, kindString, kindNumber)
	if !ok {
		return nil
	}
	b, err := parseutil.ParseBool(v.text)
	if err != nil {
		hint := ""
		switch strings.ToLower(v.text) {
		case "yes", "y", "on", "enable", "enabled":
			hint = "; write " + key + " = true"
		case "no", "n", "off", "disable", "disabled":
			hint = "; write " + key + " = false"
		}
		s.fail(key, "expected %s, got %q%s", expected, v.text, hint)
		return nil
	}
	return &b
}

// duration accepts "1h", "2d", 3600 and "3600"; seconds when there is no unit.
func (s *scope) duration(key string, dst *time.Duration, lowest, highest time.Duration) {
	const expected = `a duration such as "1h" or 3600`
	v, ok := s.scalar(key, expected, kindString, kindNumber)
	if !ok || v.text == "" {
		return
	}
	d, err := parseutil.ParseDurationSecond(v.text)
	if err != nil {
		s.fail(key, "expected %s, got %q", expected, v.text)
		return
	}
	if d < lowest || d > highest {
		s.fail(key, "must be between %s and %s, got %s", lowest, highest, d)
		return
	}
	*dst = d
}

func (s *scope) integer(key string, dst *int, lowest, highest int) {
	const expected = "a whole number"
	v, ok := s.scalar(key, expected, kindNumber, kindString)
	if !ok || v.text == "" {
		return
	}
	n, err := strconv.Atoi(v.text)
	if err != nil {
		s.fail(key, "expected %s, got %q", expected, v.text)
		return
	}
	if n < lowest || n > highest {
		s.fail(key, "must be between %d and %d, got %d", lowest, highest, n)
		return
	}
	*dst = n
}

// size accepts bytes and Vault's units: kb, kib, mb, mib, gb, gib, tb, tib in any case.
func (s *scope) size(key string, dst *int64, lowest, highest int64) {
	const expected = `a size such as "32MiB" or 33554432`
	v, ok := s.scalar(key, expected, kindNumber, kindString)
	if !ok || v.text == "" {
		return
	}
	n, err := parseSize(v.text)
	if err != nil {
		s.fail(key, "expected %s, got %q", expected, v.text)
		return
	}
	if n < lowest || n > highest {
		s.fail(key, "must be between %d and %d bytes, got %d", lowest, highest, n)
		return
	}
	*dst = n
}

// parseSize is parseutil.ParseCapacityString with an error where that one overflows, and with signs.
func parseSize(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	count, err := strconv.ParseUint(text[:digits], 10, 64)
	if err != nil {
		return 0, err
	}
	unit, err := parseutil.ParseCapacityString("1" + text[digits:])
	if err != nil {
		return 0, err
	}
	over, total := bits.Mul64(count, unit)
	if over != 0 || total > math.MaxInt64 {
		return 0, fmt.Errorf("size: %w", strconv.ErrRange)
	}
	return int64(total), nil
}

// list accepts a list of strings, or one string with commas.
func (s *scope) list(key string) []string {
	const expected = "a list of strings"
	v, ok := s.scalar(key, expected, kindList, kindString)
	if !ok {
		return nil
	}
	var texts []string
	switch v.kind {
	case kindString:
		texts = strings.Split(v.text, ",")
	default:
		for _, element := range v.list {
			if element.kind != kindString {
				s.fail(key, "expected %s, got %s in the list", expected, element.kind)
				return nil
			}
			texts = append(texts, element.text)
		}
	}
	var trimmed []string
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			trimmed = append(trimmed, text)
		}
	}
	return trimmed
}

// block consumes a block without a label, such as telemetry; nil when it is absent.
func (s *scope) block(key string) *scope {
	e, ok := s.take(key)
	if !ok || e.value.kind == kindNull {
		return nil
	}
	if len(e.labels) > 0 || e.value.kind != kindBlock {
		s.fail(key, "expected a block without a label")
		return nil
	}
	return newScope(s.name(key), "", e.pos, e.value.entries, s.report)
}

// labelled consumes all blocks of key, each with its label. It accepts `key "label" {}`,
// `key { label {} }`, JSON's lists of those, and `key { type = "label" }`.
func (s *scope) labelled(key string) []*scope {
	var blocks []*scope
	for _, e := range s.takeAll(key) {
		blocks = s.flatten(blocks, key, e)
	}
	return blocks
}

func (s *scope) flatten(blocks []*scope, key string, e entry) []*scope {
	v := e.value
	switch {
	case v.kind == kindNull:
		return blocks
	case v.kind == kindList:
		for _, element := range v.list {
			blocks = s.flatten(blocks, key, entry{key: e.key, labels: e.labels, pos: element.pos, value: element})
		}
		return blocks
	case v.kind != kindBlock || len(e.labels) > 1:
		s.report.fail(e.pos, s.name(key), "expected blocks such as `%s \"type\" { … }`", key)
		return blocks
	case len(e.labels) == 1:
		label := strings.ToLower(e.labels[0])
		return append(blocks, newScope(s.name(key)+"."+label, label, e.pos, v.entries, s.report))
	case onlyBlocks(v.entries):
		for _, member := range v.entries {
			labels := append([]string{member.key}, member.labels...)
			blocks = s.flatten(blocks, key, entry{key: e.key, labels: labels, pos: member.pos, value: member.value})
		}
		return blocks
	default:
		block := newScope(s.name(key), "", e.pos, v.entries, s.report)
		block.str("type", &block.label)
		block.label = strings.ToLower(block.label)
		if block.label == "" {
			s.report.fail(e.pos, s.name(key), "expected a type, as in `%s \"type\" { … }`", key)
			return blocks
		}
		block.path += "." + block.label
		return append(blocks, block)
	}
}

// onlyBlocks tells `listener { tcp {} }` from `listener { type = "tcp" }`.
func onlyBlocks(entries []entry) bool {
	for _, e := range entries {
		if e.value.kind != kindBlock && e.value.kind != kindList {
			return false
		}
	}
	return len(entries) > 0
}

// ignore accepts keys that Vault knows and that have no meaning here, with one warning each.
func (s *scope) ignore(keys ...string) {
	for _, key := range keys {
		if entries := s.takeAll(key); len(entries) > 0 {
			s.report.warn(entries[0].pos, s.name(key), "has no effect in coffer and is ignored")
		}
	}
}

// finish reports each key that was not read.
func (s *scope) finish() {
	var left []entry
	for _, entries := range s.entries {
		left = append(left, entries[0])
	}
	slices.SortFunc(left, func(a, b entry) int { return a.pos.Line - b.pos.Line })
	for _, e := range left {
		key, hint := strings.ToLower(e.key), ""
		if near := nearest(key, s.asked); near != "" {
			hint = "; did you mean " + near + "?"
		} else if place := elsewhere(s.path, key); place != "" {
			hint = "; " + place
		}
		s.report.fail(e.pos, s.name(e.key), "unknown key%s", hint)
	}
}
