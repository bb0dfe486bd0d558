package servers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNoMeasure is returned where /proc does not tell what was asked: on systems other than Linux, or without a process.
var ErrNoMeasure = errors.New("not measurable")

// RSS is the resident memory of the process in bytes.
func (s *Server) RSS() (int64, error) { return s.procStatus("VmRSS:") }

// PeakRSS is the highest resident memory in bytes since the start of the process, or since ResetPeakRSS.
func (s *Server) PeakRSS() (int64, error) { return s.procStatus("VmHWM:") }

// ResetPeakRSS makes PeakRSS start over from the present resident memory.
func (s *Server) ResetPeakRSS() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.PID()), []byte("5"), 0)
}

// procStatus reads a "VmXXX:   123 kB" line of /proc/PID/status.
func (s *Server) procStatus(name string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoMeasure, err)
	}
	for line := range strings.Lines(string(status)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: %s: %w", ErrNoMeasure, name, err)
		}
		return kB << 10, nil
	}
	return 0, fmt.Errorf("%w: no %s", ErrNoMeasure, name)
}

// DataSize is the size of all files in the data folder in bytes.
func (s *Server) DataSize() (int64, error) {
	var total int64
	err := filepath.WalkDir(s.DataDir(), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // A running server may remove a file meanwhile.
		}
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	return total, err
}

// BinarySize is the size of the program in bytes.
func (s *Server) BinarySize() (int64, error) {
	info, err := os.Stat(s.binary)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// LogTail is the end of the log, at most limit bytes; what is unreadable is reported in its place.
func (s *Server) LogTail(limit int64) string { return Tail(s.LogFile(), limit) }

// Tail is the end of a log file, at most limit bytes; what is unreadable is reported in its place.
func Tail(file string, limit int64) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	tail, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-limit), limit))
	if err != nil {
		return err.Error()
	}
	return string(tail)
}
