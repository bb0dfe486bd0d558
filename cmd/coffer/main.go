// Command coffer is a secrets server that speaks Vault's HTTP API, and its command line.
//
//	coffer server -config=FILE|DIR   runs the server
//	coffer server -dev               runs an unsealed server in memory, for trying things out
//	coffer status                    asks a server whether it is sealed
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // Policies name time zones, and small images have no files about them.

	"coffer/server/config"
)

const usage = `Usage: coffer <command> [options]

Commands:
    server     Run the server
    status     Ask a server whether it is sealed
    version    Print the version

"coffer <command> -h" lists the options of a command. To try it out:

    $ coffer server -dev

Everything else, such as "operator init", "login" and "kv put", is done with HashiCorp's "vault" command, or
OpenBao's "bao", which talk to the server that VAULT_ADDR names.
`

// clientCommands are commands of "vault" that act on a server.
var clientCommands = []string{
	"agent", "audit", "auth", "debug", "delete", "events", "kv", "lease", "list", "login", "monitor", "namespace",
	"operator", "patch", "path-help", "pki", "plugin", "policy", "print", "proxy", "read", "secrets", "ssh", "token",
	"transform", "transit", "unwrap", "version-history", "write",
}

// Exit codes, as Vault's.
const (
	exitOK      = 0
	exitError   = 1
	exitSealed  = 2
	exitUnknown = 127
)

func main() {
	os.Exit(command(hideMemory())) // before any key is read
}

// command runs the command line of this process and returns its exit code. exposed is process.exposed.
func command(exposed error) int {
	signals := notifySignals()
	// Who reads the output may go away; writing is an error then, not the end of the server.
	signal.Ignore(syscall.SIGPIPE)
	p := &process{stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv, signals: signals, start: startCore,
		exposed: exposed}
	return p.run(context.Background(), os.Args[1:])
}

// notifySignals is the channel of the signals that the server knows. Reloads that wait are one; they never keep out the
// signal to stop.
func notifySignals() <-chan os.Signal {
	reloads, stops, all := make(chan os.Signal, 1), make(chan os.Signal, 2), make(chan os.Signal)
	signal.Notify(reloads, syscall.SIGHUP)
	signal.Notify(stops, os.Interrupt, syscall.SIGTERM)
	go func() {
		for {
			select {
			case s := <-reloads:
				all <- s
			case s := <-stops:
				all <- s
			}
		}
	}()
	return all
}

// process is what a command sees of the world outside.
type process struct {
	stdout, stderr io.Writer
	env            func(string) string
	signals        <-chan os.Signal
	// start builds the server's core; tests bring their own.
	start startFunc
	// exposed is why the memory could not be kept from core dumps and debuggers; nil when it is.
	exposed error
}

// run executes the command line and returns the exit code.
func (p *process) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.stderr, usage)
		return exitUnknown
	}
	switch command, rest := args[0], args[1:]; command {
	case "server":
		return p.server(ctx, rest)
	case "status":
		return p.status(ctx, rest)
	case "version", "-v", "-version", "--version":
		fmt.Fprintln(p.stdout, versionLine())
		return exitOK
	case "help", "-h", "-help", "--help":
		fmt.Fprint(p.stdout, usageOf(rest))
		return exitOK
	default:
		command, _, _ = strings.Cut(command, "=")
		fmt.Fprintf(p.stderr, "unknown command %q%s\n\n%s", command, pointFrom(command), usage)
		return exitUnknown
	}
}

// usageOf is the help about the first of args, or about all commands.
func usageOf(args []string) string {
	switch {
	case len(args) > 0 && args[0] == "server":
		return serverUsage
	case len(args) > 0 && args[0] == "status":
		return statusUsage
	default:
		return usage
	}
}

// pointFrom says what was probably meant by a command that there is not. It repeats no arguments: they may be secrets.
func pointFrom(command string) string {
	if strings.HasPrefix(command, "-") {
		return fmt.Sprintf(": a command comes before its options; write: coffer server %s …", command)
	}
	if slices.Contains(clientCommands, command) {
		return fmt.Sprintf(": coffer is the server alone; write: vault %s …", command)
	}
	if near := config.Nearest(command, []string{"server", "status", "version", "help"}); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if near := config.Nearest(command, clientCommands); near != "" {
		return fmt.Sprintf("; did you mean \"vault %s\"?", near)
	}
	return ""
}
