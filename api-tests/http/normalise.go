package http

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A rule replaces what no two servers can have in common by a mark that tells its form.
type rule struct {
	pattern *regexp.Regexp
	mark    string // May use $1; empty: see markHex and markBase64.
}

// wholeRules are tried in order on the whole text of a string.
var wholeRules = []rule{
	{regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$`), "<time>"},
	{regexp.MustCompile(`^(?:19[7-9]|20)\d+-\d\d-\d\dT\d\d:\d\d:\d\dZ$`), "<time in seconds>"},
	{regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d$`), "<time with offset>"},
	{regexp.MustCompile(`^\d+\.\d+\.\d+(-\w+)?$`), "<version>"},
	{regexp.MustCompile(`^v\d+\.\d+\.\d+[^ ]*\+builtin$`), "<builtin version>"},
	{regexp.MustCompile(`^v\d+\.\d+\.\d+[^ ]*\+builtin\.vault$`), "<builtin.vault version>"},
}

// partRules replace every match inside a string.
var partRules = []rule{
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`), "<uuid>"},
	{regexp.MustCompile(`\bhvs\.[A-Za-z0-9_-]{20,}`), "<service token>"},
	{regexp.MustCompile(`\bhvb\.[A-Za-z0-9_-]{20,}`), "<batch token>"},
	{regexp.MustCompile(`\bvault-cluster-[0-9a-f]{8}\b`), "<cluster name>"},
	{regexp.MustCompile(`\b((?:auth_|ns_)?[a-z]+)_[0-9a-f]{8}\b`), "<$1 accessor>"},
	{regexp.MustCompile(`(\b|/)h[0-9a-f]{64}\b`), "$1<token id>"},
	{regexp.MustCompile(`\bhmac-sha256:[0-9a-f]{64}\b`), "<hmac-sha256>"},
	{regexp.MustCompile(`\b(state|nonce|code_challenge)=[A-Za-z0-9_-]{20,}`), "$1=<random>"},
	{regexp.MustCompile(`\b127\.0\.0\.1:\d{2,5}\b`), "<host:port>"},
}

// keyRules replace the value at a key where its form alone does not tell. They apply to non-empty strings that no other
// rule has changed.
var keyRules = map[string]string{
	"otp":          "<otp>",
	"accessor":     "<accessor>",
	"hostname":     "<hostname>",
	"random_bytes": "",
}

// exactKeys are never replaced: what is at these keys follows from the request or is a constant.
var exactKeys = map[string]bool{
	"sum": true, "max_operations": true, "pgp_fingerprint": true, "pgp_fingerprints": true,
}

// buildKeys are properties of the program and not of its answers. They are replaced even when empty.
var buildKeys = map[string]bool{"build_date": true}

var (
	hexPattern      = regexp.MustCompile(`^[0-9a-f]{40,}$`)
	base64Pattern   = regexp.MustCompile(`^[A-Za-z0-9+/_-]{36,}={0,2}$`)
	accessorPattern = regexp.MustCompile(`^[A-Za-z0-9]{24}$`)
	// The path before the name of a lease has no upper case, which tells it from base64 with a "/" in it.
	leaseIDPattern = regexp.MustCompile(`^((?:.*\s)?[^\sA-Z+=]+)/([A-Za-z0-9]{24})$`)
)

// limitPattern is what a warning says of the rest of a token's maximal life, which counts down as well.
var limitPattern = regexp.MustCompile(`effective max_ttl of "[0-9hms]+"`)

// Unix times between these are taken for the present.
const (
	earliestUnix = 1_600_000_000
	latestUnix   = 4_000_000_000
)

// tickingKeys count down while the script runs.
var tickingKeys = map[string]bool{"ttl": true, "lease_duration": true}

// normalise rewrites n, which is at key, in place. vars are the captured values: where one occurs its name is put.
func (v *variables) normalise(n *node, key string) {
	if n.kind != 0 {
		for i := range n.members {
			m := &n.members[i]
			if n.kind == '[' {
				v.normalise(m.value, key)
				continue
			}
			exact := m.key
			m.key = markParts(v.nameValues(m.key))
			v.normalise(m.value, exact)
		}
		return
	}
	text, ok := n.text()
	if !ok {
		if !exactKeys[key] {
			n.literal = markNumber(n.literal, key)
		}
		return
	}
	marked := v.nameValues(text)
	switch {
	case buildKeys[key]:
		marked = "<" + strings.ReplaceAll(key, "_", " ") + ">"
	case !exactKeys[key]:
		marked = markText(marked, key)
	}
	// Untouched literals stay as they were spelt, escapes included.
	if marked != text {
		n.setText(marked)
	}
}

func markText(text, key string) string {
	for _, r := range wholeRules {
		if r.pattern.MatchString(text) {
			return r.mark
		}
	}
	if marked := markParts(text); marked != text {
		return marked
	}
	if mark, ok := keyRules[key]; ok && text != "" && !strings.Contains(text, "${") {
		return cmp.Or(mark, markRandom(text))
	}
	if accessorPattern.MatchString(text) && mixed(text) {
		return "<accessor>"
	}
	if hexPattern.MatchString(text) || base64Pattern.MatchString(text) && mixed(text) {
		return markRandom(text)
	}
	return text
}

func markParts(text string) string {
	for _, r := range partRules {
		text = r.pattern.ReplaceAllString(text, r.mark)
	}
	text = limitPattern.ReplaceAllStringFunc(text, undoLimitTicks)
	if lease := leaseIDPattern.FindStringSubmatch(text); lease != nil && mixed(lease[2]) {
		return lease[1] + "/<lease id>"
	}
	return text
}

// markRandom names the encoding and length of random bytes.
func markRandom(text string) string {
	if len(text)%2 == 0 && regexp.MustCompile(`^[0-9a-f]+$`).MatchString(text) {
		return fmt.Sprintf("<%d bytes in hex>", len(text)/2)
	}
	for name, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
		if raw, err := enc.DecodeString(text); err == nil && (name == "base64" || strings.ContainsAny(text, "-_")) {
			return fmt.Sprintf("<%d bytes in %s>", len(raw), name)
		}
	}
	if raw, err := base64.RawStdEncoding.DecodeString(text); err == nil {
		return fmt.Sprintf("<%d bytes in base64 without padding>", len(raw))
	}
	return text
}

// mixed tells random text from words: it has both cases.
func mixed(text string) bool { return strings.ToUpper(text) != text && strings.ToLower(text) != text }

// sortRepeats orders the members of an answer that repeat those of its data, as most answers of sys/ do: Vault writes
// them in random order.
func sortRepeats(answer *node) {
	data := answer.find(jsonPath{"data"})
	if answer.kind != '{' || len(data) != 1 {
		return
	}
	var places []int
	var repeats []member
	for i, m := range answer.members {
		if len(data[0].find(jsonPath{m.key})) == 1 && m.key != "data" {
			places, repeats = append(places, i), append(repeats, m)
		}
	}
	slices.SortFunc(repeats, func(a, b member) int { return strings.Compare(a.key, b.key) })
	for i, place := range places {
		answer.members[place] = repeats[i]
	}
}

func markNumber(literal, key string) string {
	number, err := strconv.ParseInt(literal, 10, 64)
	if err != nil {
		return literal
	}
	if number > earliestUnix && number < latestUnix {
		return `"<unix time>"`
	}
	if !tickingKeys[key] || number <= 0 {
		return literal
	}
	return strconv.FormatInt(undoTicks(number), 10)
}

// undoLimitTicks is undoTicks for the duration in a match of limitPattern.
func undoLimitTicks(match string) string {
	before, rest, _ := strings.Cut(match, `"`)
	limit, err := time.ParseDuration(strings.TrimSuffix(rest, `"`))
	if err != nil || limit%time.Second != 0 {
		return match
	}
	text := (time.Duration(undoTicks(int64(limit/time.Second))) * time.Second).String()
	for _, zero := range []string{"m0s", "h0m"} { // as Vault writes durations
		if shorter, ok := strings.CutSuffix(text, zero); ok {
			text = shorter + zero[:1]
		}
	}
	return before + `"` + text + `"`
}

// undoTicks takes seconds that are somewhat below a round number for the round number: a script on a busy machine takes
// its time.
func undoTicks(seconds int64) int64 {
	step, slack := int64(60), int64(25)
	if seconds <= 30 {
		step, slack = 10, 4
	}
	if full := (seconds + step - 1) / step * step; full-seconds <= slack {
		return full
	}
	return seconds
}
