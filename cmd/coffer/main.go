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
	"syscall"
	_ "time/tzdata" // Policies name time zones, and small images have no files about them.
)

const usage = `Usage: coffer <command> [options]

Commands:
    server     Run the server
    status     Ask a server whether it is sealed
    version    Print the version

"coffer <command> -h" lists the options of a command.
`

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
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	p := &process{stdout: os.Stdout, stderr: os.Stderr, env: os.Getenv, signals: signals, start: startCore,
		exposed: exposed}
	return p.run(context.Background(), os.Args[1:])
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
		fmt.Fprint(p.stdout, usage)
		return exitOK
	default:
		fmt.Fprintf(p.stderr, "unknown command %q\n\n%s", command, usage)
		return exitUnknown
	}
}
