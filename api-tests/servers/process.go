package servers

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

const sigTerm = syscall.SIGTERM

// process is a running child. err is valid once done is closed.
type process struct {
	pid  int
	proc *os.Process
	done chan struct{}
	err  error
}

// startProcess runs binary with its output appended to logFile.
//
// On Linux the kernel kills the child when the *thread* that started it ends, so one goroutine holds on to its thread
// from the start of the child to its end.
func startProcess(binary string, args, env []string, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	DieWithParent(cmd)
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid, p.proc = cmd.Process.Pid, cmd.Process
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// signal reports an error when the process has ended.
func (p *process) signal(sig os.Signal) error { return p.proc.Signal(sig) }

// CleanEnv is the environment of this process without any VAULT_ or COFFER_ variable, for children that must not be
// steered by the shell the tests were started from.
func CleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "VAULT_") && !strings.HasPrefix(kv, "COFFER_") {
			env = append(env, kv)
		}
	}
	return env
}
