package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// variable matches what shells and compose files replace, and a configuration does not: $NAME, ${NAME}, %NAME%.
var variable = regexp.MustCompile(`\$[A-Za-z_]|\$\{|%[A-Za-z_]+%`)

// filePath reads the path of a file or folder. What only a shell understands in it is an error: else a folder of that
// name would be made.
func (s *scope) filePath(key string, dst *string) {
	var text string
	s.str(key, &text)
	if text == "" {
		return
	}
	if reason := CheckPath(text); reason != nil {
		s.fail(key, "%v", reason)
		return
	}
	*dst = text
}

// CheckPath returns an error for a path that is not meant as it is written.
func CheckPath(text string) error {
	switch {
	case strings.HasPrefix(text, "~"):
		home := ""
		if folder, err := os.UserHomeDir(); err == nil && (text == "~" || strings.HasPrefix(text, "~/")) {
			home = fmt.Sprintf(", such as %q", filepath.Join(folder, text[1:]))
		}
		return fmt.Errorf(`"~" is expanded by shells alone; write the whole path%s`, home)
	case variable.MatchString(text):
		return errors.New("variables are not expanded; write the whole path")
	case strings.HasPrefix(text, "file://"):
		return fmt.Errorf("expected a path, not a URL; write %q", strings.TrimPrefix(text, "file://"))
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New(`control characters in a path; write "/" where "\" was meant to separate folders`)
	case strings.TrimSpace(text) != text:
		return errors.New("white space at an end of the path; remove it")
	}
	return nil
}

// readable reports, for a file that is named in a configuration, what keeps the process from reading it.
func readable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("expected a file, %s is a folder", path)
	}
	if err == nil {
		var f *os.File
		// Not blocking: opening a pipe that nobody writes would wait for ever.
		if f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			err = f.Close()
		}
	}
	return Explain(err)
}

// Explain adds to an error of a file who may not do what, and how to allow it; other errors stay as they are.
func Explain(err error) error {
	var at *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &at) {
		return err
	}
	// The first on the way that is there and keeps the process out is the one to change.
	blocked := at.Path
	for dir := filepath.Dir(blocked); ; dir = filepath.Dir(dir) {
		if _, statErr := os.Lstat(blocked); statErr == nil || dir == blocked {
			break
		}
		blocked = dir
	}
	user, group := os.Geteuid(), os.Getegid()
	owner := ""
	if info, statErr := os.Stat(blocked); statErr == nil {
		owner = fmt.Sprintf(" of mode %04o", info.Mode().Perm())
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = fmt.Sprintf(", which belongs to uid %d, gid %d and has mode %04o", st.Uid, st.Gid, info.Mode().Perm())
		}
	}
	return fmt.Errorf("%w: coffer runs as uid %d, gid %d and may not use %s%s; give it to that user: chown %d:%d %s "+
		"(in a container: the folder of the host that is mounted there)", err, user, group, blocked, owner, user, group,
		blocked)
}
