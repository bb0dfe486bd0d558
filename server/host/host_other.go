//go:build !linux

package host

import (
	"errors"
	"os"
	"runtime"
)

var errUnknown = errors.New("not known on " + runtime.GOOS)

// CPUs describes the processors.
func CPUs() ([]CPU, error) { return nil, errUnknown }

// CPUTimes tells how busy each processor was.
func CPUTimes() ([]Times, error) { return nil, errUnknown }

// Disks describes the file systems that are mounted from devices.
func Disks() ([]Disk, error) { return nil, errUnknown }

// AboutMemory describes the machine's memory.
func AboutMemory() (Memory, error) { return Memory{}, errUnknown }

// About describes the machine.
func About() (Info, error) {
	name, err := os.Hostname()
	return Info{Hostname: name, OS: runtime.GOOS, KernelArch: runtime.GOARCH}, err
}
