package host

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// CPUs describes the processors.
func CPUs() ([]CPU, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	found, err := proc.CPUInfo()
	if err != nil {
		return nil, err
	}
	cpus := make([]CPU, 0, len(found))
	for _, c := range found {
		stepping, _ := strconv.Atoi(c.Stepping)                          // absent on ARM
		cache, _ := strconv.Atoi(strings.TrimSuffix(c.CacheSize, " KB")) // likewise
		cpus = append(cpus, CPU{CPU: int(c.Processor), VendorID: c.VendorID,
			Family: c.CPUFamily, Model: c.Model, Stepping: stepping, PhysicalID: c.PhysicalID, CoreID: c.CoreID, Cores: 1,
			ModelName: c.ModelName, MHz: c.CPUMHz, CacheSize: cache, Flags: c.Flags, Microcode: c.Microcode})
	}
	return cpus, nil
}

// CPUTimes tells how busy each processor was.
func CPUTimes() ([]Times, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return nil, err
	}
	times := make([]Times, 0, len(stat.CPU))
	for i := range int64(len(stat.CPU)) {
		c := stat.CPU[i]
		times = append(times, Times{CPU: "cpu" + strconv.FormatInt(i, 10), User: c.User, System: c.System, Idle: c.Idle,
			Nice: c.Nice, IOWait: c.Iowait, IRQ: c.IRQ, SoftIRQ: c.SoftIRQ, Steal: c.Steal, Guest: c.Guest,
			GuestNice: c.GuestNice})
	}
	return times, nil
}

// Disks describes the file systems that are mounted from devices. One that does not answer is left out.
func Disks() ([]Disk, error) {
	mounts, err := procfs.GetMounts()
	if err != nil {
		return nil, err
	}
	disks := []Disk{}
	for _, m := range mounts {
		if !strings.HasPrefix(m.Source, "/dev/") {
			continue
		}
		var fs unix.Statfs_t
		if unix.Statfs(m.MountPoint, &fs) != nil {
			continue
		}
		size := uint64(fs.Bsize) //nolint:gosec // its type depends on the architecture; it is positive
		d := Disk{Path: m.MountPoint, FSType: m.FSType, Total: fs.Blocks * size, Free: fs.Bavail * size,
			Used: (fs.Blocks - fs.Bfree) * size, InodesTotal: fs.Files, InodesFree: fs.Ffree,
			InodesUsed: fs.Files - fs.Ffree}
		d.UsedPercent = percent(d.Used, d.Used+d.Free)
		d.InodesUsedPercent = percent(d.InodesUsed, d.InodesTotal)
		disks = append(disks, d)
	}
	return disks, nil
}

// About describes the machine.
func About() (Info, error) {
	var system unix.Sysinfo_t
	if err := unix.Sysinfo(&system); err != nil {
		return Info{}, err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Info{}, err
	}
	uptime := uint64(system.Uptime) //nolint:gosec // its type depends on the architecture; it is positive
	info := Info{
		Hostname: unix.ByteSliceToString(name.Nodename[:]),
		Uptime:   uptime, BootTime: uint64(time.Now().Unix()) - uptime, //nolint:gosec // after 1970
		Procs: processes(), OS: runtime.GOOS,
		KernelVersion: unix.ByteSliceToString(name.Release[:]), KernelArch: unix.ByteSliceToString(name.Machine[:]),
		HostID: firstLine("/etc/machine-id"),
	}
	if info.HostID == "" {
		info.HostID = firstLine("/proc/sys/kernel/random/boot_id")
	}
	release := osRelease()
	info.Platform, info.PlatformVersion, info.PlatformFamily = release["ID"], release["VERSION_ID"], release["ID"]
	if family, _, _ := strings.Cut(release["ID_LIKE"], " "); family != "" {
		info.PlatformFamily = family
	}
	return info, nil
}

// processes counts the processes that /proc shows.
func processes() uint64 {
	found, _ := filepath.Glob("/proc/[0-9]*") // its pattern is well formed
	return uint64(len(found))
}

// firstLine is "" for a file that cannot be read.
func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// osRelease reads os-release(5); it is empty where there is none, as in an image from scratch.
func osRelease() map[string]string {
	values := make(map[string]string)
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return values
	}
	defer f.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), "="); found {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	return values
}
