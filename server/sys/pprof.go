package sys

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"time"

	"coffer/engines"
	"coffer/storage"
)

// The profiles of the Go runtime, in the formats of net/http/pprof: what `vault debug` and `go tool pprof` ask for.
// They tell of functions, addresses and times, and hold nothing of what is stored.
func (e *engine) profileRoutes() []engines.Route {
	routes := []engines.Route{
		engines.Path("pprof/", "List the profiles.", engines.OnRead(profileIndex)),
		engines.Path("pprof/cmdline", "Tell how the server was started.", engines.OnRead(commandLine)),
		engines.Path("pprof/symbol", "Name the functions at addresses.", engines.AnyParameters(), engines.OnRead(symbols)),
		engines.Path("pprof/profile", "Record what the processor does.", engines.OnRead(cpuProfile)),
		engines.Path("pprof/trace", "Record what the Go runtime does.", engines.OnRead(runtimeTrace)),
	}
	for name, about := range profiles {
		routes = append(routes, engines.Path("pprof/"+name, about, engines.OnRead(runtimeProfile(name))))
	}
	return routes
}

// profiles are the runtime's own.
var profiles = map[string]string{
	"allocs":       "Tell what was allocated where.",
	"block":        "Tell where goroutines waited, if that is recorded.",
	"goroutine":    "Tell what the goroutines do.",
	"heap":         "Tell what is in memory, and where it was allocated.",
	"mutex":        "Tell who held locks that others waited for, if that is recorded.",
	"threadcreate": "Tell what made threads.",
}

// What a profile may cost.
const (
	// longestProfile is how long one is recorded at most.
	longestProfile = time.Minute
	// usualProfile and usualTrace are the times when none is asked for, as in net/http/pprof.
	usualProfile, usualTrace = 30 * time.Second, time.Second
	// stacksLimit bounds the text of all goroutines' stacks, in bytes.
	stacksLimit = 4 << 20
	// traceLimit is how many bytes a trace has before it is ended early.
	traceLimit = 4 << 20
	// profileSize is about how large other profiles become, in bytes.
	profileSize = 256 << 10
)

const (
	binaryProfile = "application/octet-stream"
	textProfile   = "text/plain; charset=utf-8"
)

func profile(contentType string, body []byte) (*engines.Response, error) {
	return &engines.Response{Raw: &engines.Raw{ContentType: contentType, Body: body}}, nil
}

func profileIndex(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	var b bytes.Buffer
	b.WriteString("<html><head><title>Profiles</title></head><body><ul>\n")
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		fmt.Fprintf(&b, "<li><a href=\"%s?debug=1\">%s</a>: %s</li>\n", name, name, profiles[name])
	}
	b.WriteString("</ul></body></html>\n")
	return profile("text/html; charset=utf-8", b.Bytes())
}

// secretFlags are those of the command line whose values are secrets.
var secretFlags = []string{"dev-root-token-id"}

// commandLine answers with the arguments, separated by zero bytes.
func commandLine(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return profile(textProfile, []byte(strings.Join(withoutSecrets(os.Args), "\x00")))
}

// withoutSecrets are arguments of a command line without the values of secretFlags.
func withoutSecrets(args []string) []string {
	shown := slices.Clone(args)
	for i, arg := range shown {
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-") || !slices.Contains(secretFlags, name):
		case hasValue:
			shown[i] = arg[:strings.IndexByte(arg, '=')+1] + "<hidden>"
		case i+1 < len(shown):
			shown[i+1] = "<hidden>"
		}
	}
	return shown
}

type symbolParams struct {
	All map[string]any `param:"*"`
}

// symbols answers `go tool pprof`, which asks for "?0x47ab+0x47cd".
func symbols(_ context.Context, _ *engines.Request, p symbolParams) (*engines.Response, error) {
	var b bytes.Buffer
	b.WriteString("num_symbols: 1\n") // any number but zero says that symbols are known
	for _, list := range slices.Sorted(maps.Keys(p.All)) {
		for _, text := range strings.Fields(list) {
			pc, err := strconv.ParseUint(text, 0, 64)
			if err != nil {
				continue
			}
			if f := runtime.FuncForPC(uintptr(pc)); f != nil {
				fmt.Fprintf(&b, "%#x %s\n", pc, f.Name())
			}
		}
	}
	return profile(textProfile, b.Bytes())
}

type runtimeProfileParams struct {
	Debug int  `param:"debug" help:"0 for the format of go tool pprof, 1 for a text; 2 for all stacks of goroutines."`
	GC    bool `param:"gc" help:"Whether to collect garbage first."`
}

func runtimeProfile(name string) engines.HandlerFunc[runtimeProfileParams] {
	return func(ctx context.Context, _ *engines.Request, p runtimeProfileParams) (*engines.Response, error) {
		if name == "goroutine" && p.Debug >= allStacks {
			return stacks(ctx)
		}
		if err := storage.Spend(ctx, profileSize); err != nil {
			return nil, err
		}
		if name == "heap" && p.GC {
			runtime.GC()
		}
		var b bytes.Buffer
		if err := pprof.Lookup(name).WriteTo(&b, p.Debug); err != nil {
			return nil, fmt.Errorf("profile %s: %w", name, err)
		}
		if p.Debug > 0 {
			return profile(textProfile, b.Bytes())
		}
		return profile(binaryProfile, b.Bytes())
	}
}

// allStacks is the debug parameter that asks for each goroutine's stack.
const allStacks = 2

func stacks(ctx context.Context) (*engines.Response, error) {
	if err := storage.Spend(ctx, stacksLimit); err != nil {
		return nil, err
	}
	text := make([]byte, stacksLimit)
	return profile(textProfile, text[:runtime.Stack(text, true)])
}

type recordingParams struct {
	Seconds *int `param:"seconds" help:"How long to record, up to 60."`
}

// length is how long to record.
func (p recordingParams) length(usual time.Duration) (time.Duration, error) {
	if p.Seconds == nil {
		return usual, nil
	}
	if *p.Seconds < 1 || *p.Seconds > int(longestProfile/time.Second) {
		return 0, engines.Invalid("seconds must be from 1 to %d", int(longestProfile/time.Second))
	}
	return time.Duration(*p.Seconds) * time.Second, nil
}

func cpuProfile(ctx context.Context, _ *engines.Request, p recordingParams) (*engines.Response, error) {
	length, err := p.length(usualProfile)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer // needs no budget: one request at a time records
	if err := pprof.StartCPUProfile(&b); err != nil {
		return nil, engines.Failed("Could not enable CPU profiling: %v", err) // another request records
	}
	err = wait(ctx, length, nil)
	pprof.StopCPUProfile()
	if err != nil {
		return nil, err
	}
	return profile(binaryProfile, b.Bytes())
}

func runtimeTrace(ctx context.Context, _ *engines.Request, p recordingParams) (*engines.Response, error) {
	length, err := p.length(usualTrace)
	if err != nil {
		return nil, err
	}
	w := &boundedWriter{left: traceLimit, full: make(chan struct{})}
	if err := trace.Start(w); err != nil {
		return nil, engines.Failed("Could not enable tracing: %v", err) // another request records
	}
	err = wait(ctx, length, w.full)
	trace.Stop()
	if err != nil {
		return nil, err
	}
	return profile(binaryProfile, w.b.Bytes())
}

// boundedWriter keeps all that is written and closes full when that is more than it was made for: what ends in the
// middle of a trace cannot be read.
type boundedWriter struct {
	b    bytes.Buffer
	left int
	full chan struct{}
}

var _ io.Writer = (*boundedWriter)(nil)

// Write implements io.Writer.
func (w *boundedWriter) Write(p []byte) (int, error) {
	before := w.left > 0
	if w.left -= len(p); before && w.left <= 0 {
		close(w.full)
	}
	return w.b.Write(p)
}

// wait returns after a time or when enough is closed, or with the context's error.
func wait(ctx context.Context, length time.Duration, enough <-chan struct{}) error {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	case <-enough:
	}
	return nil
}
