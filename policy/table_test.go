package policy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTables asks every question of the files in testdata.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("tables: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			table := table{t: t, file: filepath.Base(file)}
			for lines := bufio.NewScanner(f); lines.Scan(); {
				table.line++
				table.read(lines.Text())
			}
			if table.asked == 0 {
				t.Fatal("no questions")
			}
		})
	}
}

// table reads one file, see testdata/README.md.
type table struct {
	t        *testing.T
	file     string
	line     int
	name     string
	policies []*Policy
	acl      *ACL
	// open is the name of the policy that is being read, text what was read of it.
	open  string
	text  strings.Builder
	asked int
}

func (tb *table) read(line string) {
	trimmed := strings.TrimSpace(line)
	word, rest, _ := strings.Cut(trimmed, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case tb.open != "" && trimmed == "end":
		p, err := Parse(tb.open, tb.text.String())
		if err != nil {
			tb.t.Fatalf("%s:%d: %v", tb.file, tb.line, err)
		}
		tb.policies, tb.acl, tb.open = append(tb.policies, p), nil, ""
	case tb.open != "":
		tb.text.WriteString(line + "\n")
	case trimmed == "", strings.HasPrefix(trimmed, "#"):
	case word == "case":
		tb.name, tb.policies, tb.acl = rest, nil, nil
	case word == "policy":
		tb.open = rest
		tb.text.Reset()
	default:
		tb.ask(word, rest)
	}
}

func (tb *table) ask(word, rest string) {
	if tb.acl == nil {
		tb.acl = Compile(tb.policies...)
	}
	tb.asked++
	var got, want string
	switch word {
	case "allow", "deny":
		capability, question, _ := strings.Cut(rest, " ")
		r := tb.request(question)
		r.Capability, _ = capabilityNamed(capability)
		d := tb.acl.Decide(r)
		got, want = fmt.Sprint(d.Allowed), fmt.Sprint(word == "allow")
		if d.Allowed == (d.Reason != "") || d.Allowed == (len(d.Policies) == 0) {
			tb.t.Errorf("%s:%d: allowed %v, reason %q, policies %q", tb.file, tb.line, d.Allowed, d.Reason, d.Policies)
		}
	case "caps":
		question, answer, _ := strings.Cut(rest, " = ")
		r := tb.request(question)
		got, want = strings.Join(tb.acl.Capabilities(r.Path, Spellings{}, r.Now), ", "), answer
	case "seen":
		question, answer, _ := strings.Cut(rest, " = ")
		r := tb.request(question)
		got, want = fmt.Sprint(tb.acl.Visible(r.Path, r.Now)), answer
	default:
		tb.t.Fatalf("%s:%d: unknown word %q", tb.file, tb.line, word)
	}
	if got != want {
		tb.t.Errorf("%s:%d: %s: %s %s: got %s, want %s", tb.file, tb.line, tb.name, word, rest, got, want)
	}
}

// request reads "PATH [at TIME] [wrap DURATION] [params JSON]".
func (tb *table) request(text string) Request {
	text, params, hasParams := strings.Cut(text, " params ")
	fields := strings.Fields(text)
	r := Request{Path: strings.Trim(fields[0], `"`)}
	var err error
	for i := 1; i+1 < len(fields) && err == nil; i += 2 {
		switch fields[i] {
		case "at":
			r.Now, err = time.Parse(time.RFC3339, fields[i+1])
		case "wrap":
			r.WrapTTL, err = time.ParseDuration(fields[i+1])
		default:
			err = fmt.Errorf("unknown word %q", fields[i])
		}
	}
	if hasParams && err == nil {
		d := json.NewDecoder(strings.NewReader(params))
		d.UseNumber()
		err = d.Decode(&r.Params)
	}
	if err != nil {
		tb.t.Fatalf("%s:%d: %v", tb.file, tb.line, err)
	}
	return r
}
