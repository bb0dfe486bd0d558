package sys

// WithoutSecrets is withoutSecrets.
var WithoutSecrets = withoutSecrets

// Wait is wait.
var Wait = wait

// NewBoundedWriter makes a boundedWriter for n bytes.
func NewBoundedWriter(n int) *boundedWriter {
	return &boundedWriter{left: n, full: make(chan struct{})}
}

// Full is closed when more was written.
func (w *boundedWriter) Full() <-chan struct{} { return w.full }

// Len is how many bytes were written.
func (w *boundedWriter) Len() int { return w.b.Len() }
