package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"coffer/api-tests/servers"
)

// pollFor bounds a poll command; pollEvery is its rhythm.
const (
	pollFor   = time.Minute
	pollEvery = 100 * time.Millisecond
)

// sessionKey is the key of the session among a script's values.
type sessionKey struct{}

// session is what one script has set up so far.
type session struct {
	kind       servers.Kind
	server     *servers.Server
	config     string            // What "server configure" adds.
	names      map[string]string // Value of this run → the name that stands for it in the transcript.
	transcript strings.Builder
}

func of(ts *testscript.TestScript) *session { return ts.Value(sessionKey{}).(*session) }

// setenv sets a variable of the script and makes the transcript show its name instead of its value.
func (s *session) setenv(ts *testscript.TestScript, name, value string) {
	ts.Setenv(name, value)
	if value != "" {
		s.names[value] = "$" + name
	}
}

// cmdServer is "server VERB [inmem]": start (sealed, uninitialised; sets VAULT_ADDR), ready (start, init with one
// share, unseal; sets VAULT_TOKEN, ROOT_TOKEN and UNSEAL_KEY), kill (SIGKILL), launch (again, on the same data), unseal. With
// inmem the storage is neither durable nor fit for several nodes. "server configure FILE" adds the text of FILE, in which
// $WORK is the script's folder, to the configuration from the next start or launch on, in place of what it added before.
// "server log FILE" writes down what the server logged so far.
func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	takesFile := len(args) > 0 && (args[0] == "configure" || args[0] == "log")
	if neg || len(args) < 1 || len(args) > 2 || takesFile != (len(args) == 2 && args[1] != servers.InMemory) {
		ts.Fatalf("usage: server start|ready|kill|launch|unseal [inmem], or server configure|log file")
	}
	s, ctx, opts := of(ts), context.Background(), servers.Options{Config: of(ts).config}
	if len(args) == 2 && !takesFile {
		opts.Storage = servers.InMemory
	}
	switch args[0] {
	case "start":
		s.start(ctx, ts, opts)
	case "ready":
		s.start(ctx, ts, opts)
		ts.Check(s.server.Ready(ctx))
		s.setenv(ts, "UNSEAL_KEY", s.server.Keys[0])
		s.setenv(ts, "VAULT_TOKEN", s.server.RootToken)
		s.setenv(ts, "ROOT_TOKEN", s.server.RootToken)
	case "kill":
		ts.Check(s.server.Kill())
	case "launch":
		ts.Check(s.server.Launch(ctx))
	case "unseal":
		ts.Check(s.server.Unseal(ctx))
	case "configure":
		s.config = strings.ReplaceAll(ts.ReadFile(args[1]), "$WORK", ts.Getenv("WORK"))
		if s.server != nil {
			ts.Check(s.server.Configure(s.config))
		}
	case "log":
		text, err := os.ReadFile(s.server.LogFile())
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
	default:
		ts.Fatalf("server %s: unknown", args[0])
	}
}

func (s *session) start(ctx context.Context, ts *testscript.TestScript, opts servers.Options) {
	var err error
	s.server, err = servers.Start(ctx, s.kind, opts)
	ts.Check(err)
	s.setenv(ts, "VAULT_ADDR", s.server.Addr())
}

// cmdVault is "v ARGS...": it runs vault with ARGS and appends the command, what it printed and its exit status to the
// file "transcript", with everything that differs from run to run replaced by names.
func cmdVault(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("! v: the transcript shows the exit status")
	}
	s := of(ts)
	err := ts.Exec("vault", args...)
	status := ""
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = fmt.Sprintf("[exit %d]\n", exit.ExitCode())
	} else {
		ts.Check(err)
	}
	fmt.Fprintf(&s.transcript, "$ vault %s\n%s%s%s\n", s.tidy(strings.Join(args, " ")),
		newline(s.tidy(ts.ReadFile("stdout"))), newline(s.tidy(ts.ReadFile("stderr"))), status)
	ts.Check(os.WriteFile(ts.MkAbs("transcript"), []byte(s.transcript.String()), 0o600))
}

func newline(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// cmdPoll is "poll PATTERN PROGRAM ARGS...": it runs the program again and again until PATTERN matches what it prints.
func cmdPoll(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: poll pattern program [args...]")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	deadline := time.Now().Add(pollFor)
	for ; time.Now().Before(deadline); <-time.After(pollEvery) {
		// A failure is no reason to stop: the pattern may be about the error.
		_ = ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) || pattern.MatchString(ts.ReadFile("stderr")) {
			return
		}
	}
	ts.Fatalf("poll: %q did not appear within %v", args[0], pollFor)
}

// volatile is what differs from run to run, in the order in which it is replaced.
var volatile = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d| \+0000 UTC)`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\bhv[srb]\.[A-Za-z0-9_-]+`), "TOKEN"},
	{regexp.MustCompile(`\b([a-z]+)_[0-9a-f]{8}\b`), "${1}_ACCESSOR"},
	{regexp.MustCompile(`(accessor"?:?\s+"?)[A-Za-z0-9]{24}\b`), "${1}ACCESSOR"},
	{regexp.MustCompile(`(client_id"?:\s*"?)[A-Za-z0-9+/]{43}=`), "${1}CLIENT"},
	{regexp.MustCompile(`(?m)^(Unseal Key \d+: |Encoded Token +|OTP +)\S+$`), "${1}SECRET"},
	{regexp.MustCompile(`("otp": "|"encoded_token": "|"encoded_root_token": ")[^"]+`), "${1}SECRET"},
	{regexp.MustCompile(`("creation_time": )\d+`), "${1}SECONDS"},
	{regexp.MustCompile(`(creation_time +)\d+`), "${1}SECONDS"},
}

// tidy replaces what differs from run to run by names: first the values that the script captured, then by form.
func (s *session) tidy(text string) string {
	values := make([]string, 0, len(s.names))
	for value := range s.names {
		values = append(values, value)
	}
	// The longest first, so that no value is replaced inside another.
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, value := range values {
		text = strings.ReplaceAll(text, value, s.names[value])
	}
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.with)
	}
	return remaining.ReplaceAllStringFunc(text, roundUp)
}

// remaining finds what is left of a time to live, in tables and in JSON.
var remaining = regexp.MustCompile(`(?m)(^(ttl|token_duration|lease_duration) +|"(ttl|lease_duration)": )[0-9hms]+\b`)

// roundUp makes a remaining time whole minutes: it has run down by a second or two when it is looked at.
func roundUp(field string) string {
	i := strings.LastIndex(field, " ") + 1
	if seconds, err := strconv.Atoi(field[i:]); err == nil {
		return field[:i] + strconv.Itoa((seconds+59)/60*60)
	}
	duration, err := time.ParseDuration(field[i:])
	if err != nil {
		return field
	}
	return field[:i] + (duration + time.Minute - time.Nanosecond).Truncate(time.Minute).String()
}
