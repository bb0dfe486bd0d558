package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// ErrInvalid is matched by every error that the text of a configuration causes. Errors of reading the
// files are those of the os package.
var ErrInvalid = errors.New("invalid configuration")

// maxProblems bounds how many errors and how many warnings one Load returns.
const maxProblems = 50

// Position is a place in a configuration file, or a variable of the environment.
type Position struct {
	// File is the path as given, or "environment".
	File string
	// Line counts from 1; 0 means the whole file.
	Line int
}

// String is "file:line".
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Error is one thing wrong with a configuration. It matches ErrInvalid.
type Error struct {
	Position
	// Key is the path of the key, such as "listener.tcp.address"; "" for errors of syntax.
	Key string
	// Reason says what is wrong and what was expected. It holds no value that may be secret.
	Reason string
	// Err is what the reason tells of, where that came from elsewhere; else nil.
	Err error
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Error implements error: "file:line: key: reason".
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s: %s", e.Position, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %s", e.Position, e.Key, e.Reason)
}

// Is makes every Error match ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }

// Warning is a part of a configuration that has no effect.
type Warning struct {
	Position
	Key    string
	Reason string
}

// String is "file:line: key: reason".
func (w Warning) String() string { return fmt.Sprintf("%s: %s: %s", w.Position, w.Key, w.Reason) }

// before orders by file, then line; what concerns a whole file comes after its lines.
func (p Position) before(q Position) int {
	line := func(p Position) int {
		if p.Line == 0 {
			return math.MaxInt
		}
		return p.Line
	}
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(line(p), line(q)))
}

// report collects everything wrong, so that one run shows the user all of it.
type report struct {
	errs     []*Error
	warnings []Warning
}

func (r *report) fail(pos Position, key, format string, args ...any) {
	if len(r.errs) < maxProblems {
		r.errs = append(r.errs, &Error{Position: pos, Key: key, Reason: fmt.Sprintf(format, args...)})
	}
}

func (r *report) warn(pos Position, key, format string, args ...any) {
	if len(r.warnings) < maxProblems {
		r.warnings = append(r.warnings, Warning{Position: pos, Key: key, Reason: fmt.Sprintf(format, args...)})
	}
}

// about reports whether an error about one of the stanzas was found already.
func (r *report) about(stanzas ...string) bool {
	return slices.ContainsFunc(r.errs, func(e *Error) bool {
		name, _, _ := strings.Cut(e.Key, ".")
		return slices.Contains(stanzas, name)
	})
}

// err joins the errors in the order of their places; nil when nothing was wrong.
func (r *report) err() error {
	slices.SortStableFunc(r.errs, func(a, b *Error) int { return a.before(b.Position) })
	joined := make([]error, len(r.errs))
	for i, e := range r.errs {
		joined[i] = e
	}
	return errors.Join(joined...)
}

// sorted is the warnings in the order of their places.
func (r *report) sorted() []Warning {
	slices.SortStableFunc(r.warnings, func(a, b Warning) int { return a.before(b.Position) })
	return r.warnings
}
