package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section is what docs/configuration.md says of one stanza: the keys of its tables, and those without effect.
type section struct{ keys, ignored []string }

// pageSections reads the page by its headings.
func pageSections(t *testing.T) map[string]section {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile("`([a-z0-9_]+)`")
	sections := map[string]section{}
	heading, without := "", false
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			heading, without = name, false
			continue
		}
		without = line != "" && (without || strings.HasPrefix(line, "Accepted without effect"))
		s, text := sections[heading], ""
		switch {
		case strings.HasPrefix(line, "| `"):
			text, _, _ = strings.Cut(line[2:], " | ")
		case without || strings.HasPrefix(line, "Refused"):
			text = line
		}
		for _, found := range quoted.FindAllStringSubmatch(text, -1) {
			if without {
				s.ignored = append(s.ignored, found[1])
			} else {
				s.keys = append(s.keys, found[1])
			}
		}
		sections[heading] = s
	}
	return sections
}

// keysOf returns the keys that a stanza's decoder looks for: those with a meaning, and those that only cost a warning.
func keysOf(label string, decode func(*scope)) section {
	probe := newScope("", label, Position{}, nil, &report{})
	decode(probe)
	var s section
	for _, key := range probe.asked {
		// A null is absent to all readers but those that warn of a key.
		rep := &report{}
		decode(newScope("", label, Position{}, []entry{{key: key, value: value{kind: kindNull}}}, rep))
		if len(rep.warnings) > 0 {
			s.ignored = append(s.ignored, key)
		} else {
			s.keys = append(s.keys, key)
		}
	}
	return s
}

// TestPageHasEveryKey holds docs/configuration.md to the decoder, in both directions.
func TestPageHasEveryKey(t *testing.T) {
	t.Parallel()
	page := pageSections(t)
	listener := func(s *scope) { decodeListener(s, unauthenticated{}) }
	storage := func(s *scope) { decodeStanza(s, &Storage{}) }
	for _, stanza := range []struct {
		label    string
		headings []string
		decode   func(*scope)
	}{
		{"", []string{"Top level"}, func(s *scope) { decodeTop(s, defaults()) }},
		{"file", []string{"Storage"}, storage},
		{"inmem", []string{"Storage inmem"}, storage},
		{"tcp", []string{"Listener", "Listener tcp"}, listener},
		{"unix", []string{"Listener", "Listener unix"}, listener},
		{"static", []string{"Seal"}, func(s *scope) { decodeSealStanza(s) }},
		{"file", []string{"Audit"}, func(s *scope) { decodeDevice(s, &AuditDevice{}) }},
		{"", []string{"Telemetry"}, func(s *scope) { decodeTelemetryKeys(s, &Telemetry{}) }},
		{"all", []string{"User lockout"}, func(s *scope) { decodeLockoutKeys(s) }},
	} {
		var said section
		for _, heading := range stanza.headings {
			said.keys = append(said.keys, page[heading].keys...)
			said.ignored = append(said.ignored, page[heading].ignored...)
		}
		read := keysOf(stanza.label, stanza.decode)
		compareKeys(t, stanza.headings, "keys", said.keys, read.keys)
		compareKeys(t, stanza.headings, "keys without effect", said.ignored, read.ignored)
	}
}

func compareKeys(t *testing.T, headings []string, what string, said, read []string) {
	t.Helper()
	where := strings.Join(headings, " and ")
	for _, key := range read {
		if !slices.Contains(said, key) {
			t.Errorf("docs/configuration.md, %s, %s: %s is missing", where, what, key)
		}
	}
	for _, key := range said {
		if !slices.Contains(read, key) {
			t.Errorf("docs/configuration.md, %s, %s: the decoder does not know %s", where, what, key)
		}
	}
}
