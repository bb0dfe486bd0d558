package servers

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

const (
	sigTerm = syscall.SIGTERM
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// Process is a running child that never outlives this process. err is valid once done is closed.
type Process struct {
	pid  int
	proc *os.Process
	done chan struct{}
	err  error
}

// StartProcess runs binary with its output appended to logFile.
//
// On Linux the kernel kills the child when the *thread* that started it ends, so one goroutine holds on to its thread
// from the start of the child to its end.
func StartProcess(binary string, args, env []string, logFile string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	DieWithParent(cmd)
	p := &Process{done: make(chan struct{})}
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
func (p *Process) signal(sig os.Signal) error { return p.proc.Signal(sig) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; it waits for that.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Kill ends the process with SIGKILL and waits for its end. It is no error when it has ended already.
func (p *Process) Kill() {
	p.signal(os.Kill) // The only error is that it has ended.
	<-p.done
}

// Suspend stops the process where it is: it holds its connections and answers none, until Resume.
func (p *Process) Suspend() error {
	if err := p.signal(sigStop); err != nil {
		return err
	}
	return awaitStop(p.pid)
}

// Resume lets a suspended process go on.
func (p *Process) Resume() error { return p.signal(sigCont) }

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
