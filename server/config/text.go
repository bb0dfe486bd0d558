package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// utf8BOM is what some editors put in front of a text. It says nothing about UTF-8 and is dropped.
const utf8BOM = "\xef\xbb\xbf"

// plainText returns the text of a file without its byte order mark. Bytes that are no UTF-8 are an *Error.
func plainText(file string, src []byte) ([]byte, error) {
	fail := func(line int, reason string) ([]byte, error) {
		return nil, &Error{Position: Position{File: file, Line: line}, Reason: reason}
	}
	const utf16 = "the file is UTF-16, as PowerShell's > and some editors write it; save it as UTF-8 " +
		"(PowerShell: Set-Content -Encoding utf8)"
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) {
		return fail(1, utf16)
	}
	src = bytes.TrimPrefix(src, []byte(utf8BOM))
	if len(src) > 1 && (src[0] == 0) != (src[1] == 0) {
		return fail(1, utf16)
	}
	line := 1
	for rest := src; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return fail(line, "a byte that is no UTF-8; save the file as UTF-8")
		case r == 0:
			return fail(line, "a NUL byte; this is no text file")
		case r == '\n':
			line++
		}
		rest = rest[size:]
	}
	return src, nil
}

// slip is a kind of mistake that can be told from the line on which the parser stopped.
type slip struct {
	match *regexp.Regexp
	// say is the answer. Its verb, if it has one, takes the first group of match: a key, never a value.
	say string
}

// slips are tried in this order.
var slips = []slip{
	{regexp.MustCompile("[\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb]"),
		`typographic quotes, as word processors and web pages have them; write straight ones: "`},
	{regexp.MustCompile("[\u00a0\u2007\u202f\u200b\u2060\ufeff]"),
		"a space that is none of ASCII (often copied from a web page); write an ordinary space"},
	{regexp.MustCompile(`^\s*(?:---|- |%YAML)`), yamlSlip},
	{regexp.MustCompile(`^\s*"?([\w-]+)"?\s*:(?:\s|$)`), yamlSlip},
	{regexp.MustCompile(`^\s*\[`), "this looks like TOML or INI; the configuration is HCL or JSON: " + blockForm},
	{regexp.MustCompile(`^\s*<`), "this looks like XML; the configuration is HCL or JSON: " + blockForm},
	{regexp.MustCompile(`^\s*(?:export|set)\s+[\w-]+\s*=`),
		"this looks like a shell script; the configuration is HCL or JSON: " + blockForm},
	{regexp.MustCompile(`^\s*([\w-]+)\s*==`), `write one "=": %s = …`},
	{regexp.MustCompile(`=\s*'`), `texts stand in double quotes; write " in place of '`},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*"(?:[^"\\]|\\.)*"\s*;`),
		"no semicolon follows a value; end the line after %s's"},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*"[^"]*\\`),
		`"\" begins an escape in a text; write %s with "/", or "\\" for each "\"`},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*(?i:yes|on|y|true|enabled?)\b\s*(?:#|//|$)`), "write %s = true"},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*(?i:no|off|n|false|disabled?)\b\s*(?:#|//|$)`), "write %s = false"},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*(?i:none|nil|null|undefined)\b`), "there is no such value; leave %s out"},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*(?:[a-z]+\(|(?:var|local|data|env)\.)`),
		`there are no functions and variables in a configuration; write the value of %[1]s itself: %[1]s = "…"`},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*"[^"]*$`), `a " is missing at the end of the line of %s`},
	{regexp.MustCompile(`^\s*([\w-]+)\s*=\s*[^\s"\[{]`), `texts stand in double quotes; write %s = "…"`},
	{regexp.MustCompile(`^\s*([\w-]+)\s+(?:true|false|\d+|"[^"]*")\s*$`), `"=" is missing; write %s = …`},
	{regexp.MustCompile(`^\s*([\w-]+)\s*\(`), "blocks have no parentheses; write %s \"type\" { … }"},
}

const (
	blockForm = `key = "value", and blocks such as listener "tcp" { … }`
	yamlSlip  = "this looks like YAML; the configuration is HCL or JSON: " + blockForm
)

// explain says what was probably meant on a line of src that the parser refused, or "" for what nobody knows.
func explain(src []byte, line int, reason string) string {
	if strings.HasSuffix(reason, "RBRACE got: EOF") {
		if opened := unclosed(src); opened > 0 {
			return fmt.Sprintf(`the block that begins on line %d has no end; write "}" after its last line`, opened)
		}
	}
	lines := strings.Split(string(src), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	meant := slipOf(lines[line-1])
	// The parser takes what is left of a value for the beginning of the next key, and stops only there.
	for at := line - 1; meant == "" && at > 0 && strings.HasPrefix(reason, noValue); at-- {
		if strings.TrimSpace(lines[at-1]) != "" {
			return slipOf(lines[at-1])
		}
	}
	return meant
}

// slipOf is what to say of one line, or "".
func slipOf(line string) string {
	text := strings.TrimRight(line, "\r")
	for _, s := range slips {
		if found := s.match.FindStringSubmatch(text); found != nil {
			if len(found) > 1 && strings.Contains(s.say, "%") {
				return fmt.Sprintf(s.say, found[1])
			}
			return s.say
		}
	}
	return ""
}

// unclosed is the line of the last "{" of src that no "}" belongs to, or 0.
func unclosed(src []byte) int {
	var open []int
	for i, text := range strings.Split(string(src), "\n") {
		if at := strings.IndexAny(text, "#"); at >= 0 {
			text = text[:at]
		}
		quoted := false
		for _, r := range text {
			switch {
			case r == '"':
				quoted = !quoted
			case r == '{' && !quoted:
				open = append(open, i+1)
			case r == '}' && !quoted && len(open) > 0:
				open = open[:len(open)-1]
			}
		}
	}
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1]
}
