package audit

import (
	"io/fs"
	"strconv"
	"strings"
	"unicode"

	"coffer/engines"
)

// Bounds of options, in bytes.
const (
	maxPathLength   = 4096
	maxPrefixLength = 128
)

// defaultMode is the mode of a new file.
const defaultMode fs.FileMode = 0o600

// options are the settings of a file device (`PUT sys/audit/:path`).
type options struct {
	// file is the path of the file, or one of the names below.
	file string
	// mode is given to the file; 0 leaves that of an existing one.
	mode         fs.FileMode
	raw          bool
	hmacAccessor bool
	elideLists   bool
	prefix       string
}

// The names that stand for no file of their own.
const (
	toStdout  = "stdout"
	toDiscard = "discard"
)

func invalidDevice(format string, args ...any) error {
	return engines.Invalid("unable to create new audit backend: "+format, args...)
}

// parseOptions reads the options of a device. Errors are engines.ErrInvalid with Vault's texts.
func parseOptions(kind string, given map[string]string, allowPrefix bool) (options, error) {
	if kind != "file" {
		return options{}, engines.Invalid("unknown backend type: %q: invalid configuration", kind)
	}
	for _, enterprise := range []string{"filter", "fallback", "exclude"} {
		if _, ok := given[enterprise]; ok {
			return options{}, engines.Invalid("enterprise-only options supplied: invalid configuration")
		}
	}
	if given["prefix"] != "" && !allowPrefix {
		return options{}, engines.Invalid(
			"audit prefixing is not enabled in configuration, audit prefixing may not be configured for file sinks")
	}
	o := options{hmacAccessor: true, prefix: given["prefix"]}
	if len(o.prefix) > maxPrefixLength || strings.ContainsFunc(o.prefix, unicode.IsControl) {
		return options{}, invalidDevice(`"prefix" has control characters or is too long: invalid configuration`)
	}
	if format := given["format"]; format != "" && format != "json" {
		return options{}, invalidDevice(`unsupported "format": invalid configuration`)
	}
	for _, flag := range []struct {
		name string
		to   *bool
	}{{"log_raw", &o.raw}, {"hmac_accessor", &o.hmacAccessor}, {"elide_list_responses", &o.elideLists}} {
		text, ok := given[flag.name]
		if !ok {
			continue
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			return options{}, invalidDevice("unable to parse %q: invalid configuration", flag.name)
		}
		*flag.to = value
	}
	var err error
	if o.file, err = parseFile(given); err != nil {
		return options{}, err
	}
	o.mode, err = parseMode(given["mode"])
	return o, err
}

func parseFile(given map[string]string) (string, error) {
	file := strings.TrimSpace(given["file_path"])
	if file == "" {
		file = strings.TrimSpace(given["path"])
	}
	switch file {
	case "":
		return "", invalidDevice(`"file_path" is required: invalid configuration`)
	case "stdout", "/dev/stdout":
		return toStdout, nil
	case "discard", "/dev/null":
		return toDiscard, nil
	}
	if len(file) > maxPathLength || strings.ContainsFunc(file, unicode.IsControl) {
		return "", invalidDevice(`"file_path" has control characters or is too long: invalid configuration`)
	}
	return file, nil
}

// parseMode reads an octal mode; "" is 0600.
func parseMode(text string) (fs.FileMode, error) {
	if text == "" {
		return defaultMode, nil
	}
	n, err := strconv.ParseUint(text, 8, 32)
	switch {
	case err != nil:
		return 0, invalidDevice("invalid mode: %s", text)
	case n&0o111 != 0:
		return 0, invalidDevice("file mode may not be executable: %s", text)
	case n > 0o777:
		return 0, invalidDevice("invalid mode: %s", text)
	}
	return fs.FileMode(n), nil
}
