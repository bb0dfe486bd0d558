package passwords

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode"
	"unicode/utf8"

	"coffer/engines"
	"coffer/policy"
)

const (
	// minLength and maxLength bound the passwords of a policy, in characters, as in Vault.
	minLength, maxLength = 4, 100
	// maxText bounds the text of a policy in bytes, and with it the characters that roll chooses from.
	maxText = faces
)

// Policy is a password policy.
type Policy struct {
	// Text is the policy as it was written, in HCL or JSON.
	Text string
	// Entropy is what was asked for as the source of randomness: "platform", "seal", or "" for none. All are the
	// operating system's.
	Entropy string
	// Length is that of the passwords, in characters.
	Length int
	// Unknown are the keys in the text that have no meaning, sorted.
	Unknown []string

	// alphabet has the characters of all rules, each once.
	alphabet []rune
	// least is how many characters each rule with a minimum asks for; counts has, for each character of the alphabet,
	// the rules that it counts for.
	least  []int
	counts [][]int
}

// rule is a charset rule: at least min characters are from charset.
type rule struct {
	charset []rune
	min     int
}

// Parse reads a policy in HCL or JSON. It returns an engines.ErrInvalid with Vault's text (sys/policies/password) for
// what Vault refuses, and for texts over 64 KiB, that are not UTF-8, or with a rule that no character can meet.
func Parse(text string) (*Policy, error) {
	p := &Policy{Text: text}
	rules, err := p.read(text)
	if err == nil {
		err = p.validate(rules)
	}
	if err != nil {
		return nil, invalid("invalid password policy: " + err.Error())
	}
	if p.Length < minLength || p.Length > maxLength {
		return nil, invalid(fmt.Sprintf("passwords must be between %d and %d characters", minLength, maxLength))
	}
	p.compile(rules)
	return p, nil
}

// Check returns an engines.ErrInvalid for a source of randomness that does not exist, and for a policy whose rules are
// met so seldom that Generate could fail.
func (p *Policy) Check() error {
	if !slices.Contains([]string{"", "platform", "seal"}, p.Entropy) {
		return invalid("unsupported entropy source " + p.Entropy)
	}
	if _, err := p.generate(rand.Read, checkWork); err != nil {
		return invalid("invalid password policy: " + err.Error())
	}
	return nil
}

func invalid(text string) error { return engines.Invalid("%s", engines.Numbered(text)) }

func (p *Policy) read(text string) ([]rule, error) {
	switch {
	case len(text) > maxText:
		return nil, fmt.Errorf("text is longer than %d bytes", maxText)
	case !utf8.ValidString(text):
		return nil, errors.New("not valid UTF-8")
	}
	values, err := policy.Values(text)
	if err != nil {
		return nil, fmt.Errorf("unable to decode: %w", err)
	}
	lengthKey, length := find(values, "length")
	p.note(values, "rule", lengthKey)
	if lengthKey != "" {
		if p.Length, err = whole("length", length); err != nil {
			return nil, fmt.Errorf("failed to decode configuration: %w", decoding(err))
		}
	}
	var rules []rule
	if blocks, ok := values["rule"]; ok {
		rules, err = p.readRules(blocks)
	}
	slices.Sort(p.Unknown)
	p.Unknown = slices.Compact(p.Unknown)
	return rules, err
}

// readRules reads all blocks with the name "rule".
func (p *Policy) readRules(value any) ([]rule, error) {
	var rules []rule
	blocks, err := maplist(value)
	if err != nil {
		return nil, fmt.Errorf("unable to retrieve rules: %w", err)
	}
	for _, block := range blocks {
		if len(block) == 0 {
			return nil, errors.New("unable to parse rules: unable to get rule info: rule is empty")
		}
		for _, kind := range slices.Sorted(maps.Keys(block)) {
			bodies, err := maplist(block[kind])
			if err != nil {
				return nil, fmt.Errorf("unable to parse rules: unable to get rule info: unable to get rule data: %w", err)
			}
			if kind != "charset" {
				return nil, fmt.Errorf("unable to parse rules: unable to parse rule %s: unrecognized rule type %s", kind, kind)
			}
			for _, body := range bodies {
				r, err := p.readRule(body)
				if err != nil {
					return nil, fmt.Errorf("unable to parse rules: unable to parse rule charset: failed to parse charset "+
						"restriction: %w", err)
				}
				rules = append(rules, r)
			}
		}
	}
	return rules, nil
}

func (p *Policy) readRule(body map[string]any) (r rule, err error) {
	var faults []error
	charsetKey, charset := find(body, "charset")
	leastKey, least := find(body, "min-chars")
	p.note(body, charsetKey, leastKey)
	if charsetKey != "" {
		text, isText := charset.(string)
		if !isText {
			faults = append(faults, fmt.Errorf("'charset': source data must be an array or slice, got %s", kindOf(charset)))
		}
		r.charset = []rune(text)
	}
	if leastKey != "" {
		least, err := whole("min-chars", least)
		if err != nil {
			faults = append(faults, err)
		}
		r.min = max(least, 0) // Vault takes less than none for none
	}
	if faults != nil {
		return rule{}, decoding(faults...)
	}
	return r, nil
}

// note adds to Unknown the keys of values but those that have a meaning.
func (p *Policy) note(values map[string]any, known ...string) {
	for key := range values {
		if !slices.Contains(known, key) {
			p.Unknown = append(p.Unknown, key)
		}
	}
}

// validate returns all that is wrong with the values together.
func (p *Policy) validate(rules []rule) error {
	var faults []string
	required, printable, some := 0, true, false
	for _, r := range rules {
		required += min(r.min, maxText) // no sum of these overflows: a text has few rules
		printable = printable && !slices.ContainsFunc(r.charset, func(c rune) bool { return !unicode.IsPrint(c) })
		some = some || len(r.charset) > 0
	}
	if p.Length <= 0 {
		faults = append(faults, "length must be > 0")
	} else if required > p.Length {
		faults = append(faults, fmt.Sprintf("specified rules require at least %d characters but %d is specified",
			required, p.Length))
	}
	switch {
	case !some:
		faults = append(faults, "no charset specified")
	case !printable:
		faults = append(faults, "non-printable character in charset")
	case slices.ContainsFunc(rules, func(r rule) bool { return r.min > 0 && len(r.charset) == 0 }):
		faults = append(faults, "a rule has min-chars but no charset")
	}
	if faults != nil {
		return errors.New(engines.Numbered(faults...))
	}
	return nil
}

// compile prepares the rules for Generate.
func (p *Policy) compile(rules []rule) {
	for _, r := range rules {
		p.alphabet = append(p.alphabet, r.charset...)
	}
	slices.Sort(p.alphabet)
	p.alphabet = slices.Compact(p.alphabet)
	p.counts = make([][]int, len(p.alphabet))
	for _, r := range rules {
		if r.min == 0 {
			continue
		}
		slices.Sort(r.charset)
		for _, c := range slices.Compact(r.charset) {
			at, _ := slices.BinarySearch(p.alphabet, c)
			p.counts[at] = append(p.counts[at], len(p.least))
		}
		p.least = append(p.least, r.min)
	}
}
