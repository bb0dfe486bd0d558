package servers

import (
	"os/exec"
	"syscall"
)

// DieWithParent makes cmd, not yet started, die when the thread that starts it ends. A caller that must not lose the
// child early starts it from, and waits for it in, a goroutine locked to its thread.
func DieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
