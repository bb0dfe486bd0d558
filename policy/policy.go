// Package policy is the policy language: it parses policies, compiles those of a token into one ACL and
// decides what a request may do. It is pure: no storage, no clock, nothing that changes; the time of a
// decision is part of the request.
//
// The language is Vault's (sys/policies/acl), with two keys more in a path rule. "hours" gives time
// windows and "expiration" an end; outside them the rule grants nothing, but it still stands in front of
// wider rules, and a deny holds always. The zones of "hours" come from the machine's time zone data; a
// program that must work without them imports time/tzdata.
//
// DESIGN.md tells how a decision is made and where it differs from Vault's.
package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid is returned for a policy text that cannot be accepted. The error's text is meant for the
// client and equals Vault's where Vault has one.
var ErrInvalid = errors.New("invalid policy")

// ErrName is returned for a policy name that cannot be accepted. The error's text is meant for the client.
var ErrName = errors.New("invalid policy name")

// RootName is the policy that permits everything. It has no rules and cannot be written.
const RootName = "root"

// maxNameLength bounds policy names, in bytes.
const maxNameLength = 512

// Policy is one parsed policy. It is not changed after Parse.
type Policy struct {
	// Name is the canonical name.
	Name string
	// Text is the policy as it was written.
	Text string
	// Rules are the path rules in the order of the text.
	Rules []Rule
	// Templated is set when the path of a rule holds a {{selector}}; see Expand.
	Templated bool
}

// Rule is what a policy says about a path.
type Rule struct {
	// Path is matched against a request's whole path. It has no leading "/". A "*" at its end matches
	// anything, and a segment that is "+" matches one segment.
	Path         string
	Capabilities Capability
	// Allowed restricts the parameters of a request to these keys (lower case) and values; a key without
	// values permits any, and the key "*" permits all other keys.
	Allowed map[string][]any
	// Denied are keys (lower case) and values that a request may not have; "*" denies all keys.
	Denied map[string][]any
	// Required are keys that a request must have.
	Required []string
	// MinWrappingTTL and MaxWrappingTTL, when above zero, make response wrapping a condition and bound
	// the life of the wrapping token.
	MinWrappingTTL time.Duration
	MaxWrappingTTL time.Duration
	// Expiration is the moment from which on the rule grants nothing; zero for never.
	Expiration time.Time
	// Hours are the windows in which the rule grants; none for always.
	Hours []Window
	// Templated is set while Path holds a {{selector}}.
	Templated bool
}

// timed reports whether what the rule grants depends on the time. A deny does not.
func (r *Rule) timed() bool {
	return !r.Capabilities.Has(Deny) && (!r.Expiration.IsZero() || len(r.Hours) > 0)
}

// activeAt reports whether a timed rule grants at now. A zero time is no time: nothing is granted.
func (r *Rule) activeAt(now time.Time) bool {
	if now.IsZero() || (!r.Expiration.IsZero() && !now.Before(r.Expiration)) {
		return false
	}
	if len(r.Hours) == 0 {
		return true
	}
	for i := range r.Hours {
		if r.Hours[i].Contains(now) {
			return true
		}
	}
	return false
}

// Canonicalize returns the one form of a policy name: ASCII in lower case, without surrounding white space. It
// returns ErrName for what CheckName refuses. A "/" inside a name is accepted, as in Vault.
func Canonicalize(name string) (string, error) {
	name = strings.TrimSpace(FoldASCII(name))
	if err := CheckName(name); err != nil {
		return "", err
	}
	return name, nil
}

// CheckName returns ErrName for names that are empty, longer than 512 bytes, not UTF-8 or hold control characters,
// "..", an empty or "." path segment, or white space around a segment: such names could be spelled in two ways or leave
// their folder in storage.
func CheckName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return nameError("not valid UTF-8")
	case name == "":
		return nameError("empty")
	case len(name) > maxNameLength:
		return nameError(fmt.Sprintf("longer than %d bytes", maxNameLength))
	case strings.Contains(name, ".."):
		return &textError{kind: ErrName, text: "relative paths not supported"}
	case strings.ContainsFunc(name, isUnprintable):
		return nameError("unprintable character")
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment != strings.TrimSpace(segment) {
			return nameError("not a clean path")
		}
	}
	return nil
}

// isUnprintable finds control, format and other invisible characters, which make two names look alike.
func isUnprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

func nameError(why string) error {
	return &textError{kind: ErrName, text: "invalid policy name: " + why}
}

// textError is an error of a kind with a text of its own, because the text is part of the protocol.
type textError struct {
	kind error
	text string
}

func (e *textError) Error() string { return e.text }

func (e *textError) Unwrap() error { return e.kind }
