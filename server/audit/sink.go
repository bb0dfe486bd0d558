package audit

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what waits for a device.
const (
	maxQueued      = 1024
	maxQueuedBytes = 16 << 20
	// maxBatch is how many waiting bytes are written at once.
	maxBatch = 1 << 20
)

var (
	// errClosed is returned by a sink that was closed: its device is disabled.
	errClosed = errors.New("audit: device is closed")
	// errFull is returned when too much waits for a device.
	errFull = errors.New("audit: the device's queue is full")
	// errSlow is returned when a device did not write in time.
	errSlow = errors.New("audit: the device took too long")
)

// job is one line that waits to be written, or, without a line, the wish to open the file anew.
type job struct {
	line []byte
	// stalled is set when the sink was stuck as the line was handed over.
	stalled bool
	// err may be read when done is closed.
	done chan struct{}
	err  error
}

func (j *job) finish(err error) {
	j.err = err
	close(j.done)
}

// result returns the outcome, and false while there is none.
func (j *job) result() (error, bool) { //nolint:revive // the error is the result, not a failure of this call
	select {
	case <-j.done:
		return j.err, true
	default:
		return nil, false
	}
}

// sink writes lines to a file in one goroutine. Lines that wait while it writes go out together.
type sink struct {
	open func() (io.WriteCloser, error)
	jobs chan *job
	// quit asks the goroutine to end, ended is closed when it has.
	quit, ended chan struct{}
	closing     sync.Once
	// queued counts the bytes in jobs.
	queued atomic.Int64
	// stalled is set when somebody waited in vain, and cleared by the next write.
	stalled atomic.Bool

	// What follows belongs to the goroutine.

	out io.WriteCloser
	// torn is set after a write that stopped inside a line.
	torn  bool
	batch []byte
}

// newSink starts a sink over a file that is open, or nil: then it is opened with the first line.
func newSink(out io.WriteCloser, open func() (io.WriteCloser, error)) *sink {
	s := &sink{
		open: open, out: out,
		jobs: make(chan *job, maxQueued), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.run()
	return s
}

// enqueue hands a line over; the sink owns it from here. It returns errFull or errClosed.
func (s *sink) enqueue(line []byte) (*job, error) {
	select {
	case <-s.quit:
		return nil, errClosed
	default:
	}
	size := int64(len(line))
	if s.queued.Add(size) > maxQueuedBytes && s.queued.Load() != size {
		s.queued.Add(-size)
		return nil, errFull
	}
	j := &job{line: line, done: make(chan struct{}), stalled: s.stalled.Load()}
	select {
	case s.jobs <- j:
		return j, nil
	default:
		s.queued.Add(-size)
		return nil, errFull
	}
}

// reopen closes the file and opens it anew, after what was handed over before. When that fails the old
// file stays. It waits at most for the timeout.
func (s *sink) reopen(timeout time.Duration) error {
	j, err := s.enqueue(nil)
	if err != nil {
		return err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-j.done:
		return j.err
	case <-s.ended:
		return errClosed
	case <-timer.C:
		return errSlow
	}
}

// close writes what waits and ends the sink. It waits at most for the timeout: a write that is stuck for
// good keeps its goroutine.
func (s *sink) close(timeout time.Duration) {
	s.closing.Do(func() { close(s.quit) })
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}

func (s *sink) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *sink) run() {
	defer close(s.ended)
	defer s.closeFile()
	for {
		select {
		case j := <-s.jobs:
			s.serve(j)
		case <-s.quit:
			for {
				select {
				case j := <-s.jobs:
					s.serve(j)
				default:
					return
				}
			}
		}
	}
}

func (s *sink) closeFile() {
	if s.out != nil {
		_ = s.out.Close() // every write was answered for
		s.out = nil
	}
}

// serve does one job and, when it is a line, those that wait behind it.
func (s *sink) serve(first *job) {
	if first.line == nil {
		first.finish(s.reopenFile())
		return
	}
	lines := []*job{first}
	size := len(first.line)
	var next *job
	for next == nil && size < maxBatch {
		select {
		case j := <-s.jobs:
			if j.line == nil {
				next = j
				continue
			}
			lines, size = append(lines, j), size+len(j.line)
			continue
		default:
		}
		break
	}
	s.queued.Add(-int64(size))
	err := s.write(lines, size)
	s.stalled.Store(false)
	for _, j := range lines {
		j.finish(err)
	}
	if next != nil {
		next.finish(s.reopenFile())
	}
}

func (s *sink) write(lines []*job, size int) error {
	if s.out == nil {
		out, err := s.open()
		if err != nil {
			return err
		}
		s.out = out
	}
	data := lines[0].line
	if len(lines) > 1 || s.torn {
		if cap(s.batch) > 2*maxBatch {
			s.batch = nil
		}
		s.batch = s.batch[:0]
		if s.torn {
			s.batch = append(s.batch, '\n')
		}
		for _, j := range lines {
			s.batch = append(s.batch, j.line...)
		}
		data = s.batch
	}
	n, err := s.out.Write(data)
	if n > 0 {
		s.torn = data[n-1] != '\n'
	}
	if err == nil && n < size {
		err = io.ErrShortWrite
	}
	return err
}

func (s *sink) reopenFile() error {
	out, err := s.open()
	if err != nil {
		return err
	}
	s.closeFile()
	s.out, s.torn = out, false
	return nil
}
