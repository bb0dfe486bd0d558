package host_test

import (
	"runtime"
	"testing"

	"coffer/server/host"
)

// Every finder finds something on a machine that can run the test.
func TestFinders(t *testing.T) {
	if cpus, err := host.CPUs(); err != nil || len(cpus) < runtime.NumCPU() {
		t.Errorf("CPUs: %v, %v", cpus, err)
	}
	if times, err := host.CPUTimes(); err != nil || len(times) < runtime.NumCPU() || times[0].Idle+times[0].User == 0 {
		t.Errorf("CPUTimes: %v, %v", times, err)
	}
	if _, err := host.Disks(); err != nil {
		t.Errorf("Disks: %v", err)
	}
	if m, err := host.AboutMemory(); err != nil || m.Total == 0 || m.Free > m.Total || m.UsedPercent <= 0 {
		t.Errorf("AboutMemory: %+v, %v", m, err)
	}
	about, err := host.About()
	if err != nil || about.Hostname == "" || about.OS != "linux" || about.KernelVersion == "" || about.BootTime == 0 ||
		about.Procs == 0 {
		t.Errorf("About: %+v, %v", about, err)
	}
}
