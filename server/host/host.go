// Package host finds out what `sys/host-info` tells about the machine the server runs on.
//
// The members have the names that Vault 1.21.2 answers with. A finder returns an error where the system has no such
// figures: on others than Linux only [About] knows something.
package host

// CPU is one logical processor, an element of `data.cpu`.
type CPU struct {
	CPU        int      `json:"cpu"`
	VendorID   string   `json:"vendorId"`
	Family     string   `json:"family"`
	Model      string   `json:"model"`
	Stepping   int      `json:"stepping"`
	PhysicalID string   `json:"physicalId"`
	CoreID     string   `json:"coreId"`
	Cores      int      `json:"cores"`
	ModelName  string   `json:"modelName"`
	MHz        float64  `json:"mhz"`
	CacheSize  int      `json:"cacheSize"` // KiB
	Flags      []string `json:"flags"`
	Microcode  string   `json:"microcode"`
}

// Times are the seconds that a processor has spent in each state since the start, an element of `data.cpu_times`.
type Times struct {
	CPU       string  `json:"cpu"`
	User      float64 `json:"user"`
	System    float64 `json:"system"`
	Idle      float64 `json:"idle"`
	Nice      float64 `json:"nice"`
	IOWait    float64 `json:"iowait"`
	IRQ       float64 `json:"irq"`
	SoftIRQ   float64 `json:"softirq"`
	Steal     float64 `json:"steal"`
	Guest     float64 `json:"guest"`
	GuestNice float64 `json:"guestNice"`
}

// Disk is a mounted file system, an element of `data.disk`; sizes are in bytes.
type Disk struct {
	Path              string  `json:"path"`
	FSType            string  `json:"fstype"`
	Total             uint64  `json:"total"`
	Free              uint64  `json:"free"`
	Used              uint64  `json:"used"`
	UsedPercent       float64 `json:"usedPercent"`
	InodesTotal       uint64  `json:"inodesTotal"`
	InodesUsed        uint64  `json:"inodesUsed"`
	InodesFree        uint64  `json:"inodesFree"`
	InodesUsedPercent float64 `json:"inodesUsedPercent"`
}

// Info is `data.host`; the uptime is in seconds, the boot time in seconds since 1970.
type Info struct {
	Hostname             string `json:"hostname"`
	Uptime               uint64 `json:"uptime"`
	BootTime             uint64 `json:"bootTime"`
	Procs                uint64 `json:"procs"`
	OS                   string `json:"os"`
	Platform             string `json:"platform"`
	PlatformFamily       string `json:"platformFamily"`
	PlatformVersion      string `json:"platformVersion"`
	KernelVersion        string `json:"kernelVersion"`
	KernelArch           string `json:"kernelArch"`
	VirtualizationSystem string `json:"virtualizationSystem"`
	VirtualizationRole   string `json:"virtualizationRole"`
	HostID               string `json:"hostid"`
}

// Memory is `data.memory`, in bytes but for the counts of huge pages.
type Memory struct {
	memoryUse
	memoryCaches
	memoryZones
	memoryPages
}

type memoryUse struct {
	Total       uint64  `json:"total"`
	Available   uint64  `json:"available"`
	Used        uint64  `json:"used"`
	UsedPercent float64 `json:"usedPercent"`
	Free        uint64  `json:"free"`
	Active      uint64  `json:"active"`
	Inactive    uint64  `json:"inactive"`
	Wired       uint64  `json:"wired"`   // always 0, a figure of BSD
	Laundry     uint64  `json:"laundry"` // always 0, a figure of BSD
}

type memoryCaches struct {
	Buffers      uint64 `json:"buffers"`
	Cached       uint64 `json:"cached"`
	WriteBack    uint64 `json:"writeback"`
	Dirty        uint64 `json:"dirty"`
	WriteBackTmp uint64 `json:"writebacktmp"`
	Shared       uint64 `json:"shared"`
	Slab         uint64 `json:"slab"`
	SReclaimable uint64 `json:"sreclaimable"`
	SUnreclaim   uint64 `json:"sunreclaim"`
	PageTables   uint64 `json:"pagetables"`
	SwapCached   uint64 `json:"swapcached"`
	CommitLimit  uint64 `json:"commitlimit"`
	CommittedAS  uint64 `json:"committedas"`
}

type memoryZones struct {
	HighTotal uint64 `json:"hightotal"` // always 0: 32-bit kernels only
	HighFree  uint64 `json:"highfree"`  // likewise
	LowTotal  uint64 `json:"lowtotal"`  // likewise
	LowFree   uint64 `json:"lowfree"`   // likewise
	SwapTotal uint64 `json:"swaptotal"`
	SwapFree  uint64 `json:"swapfree"`
}

type memoryPages struct {
	Mapped         uint64 `json:"mapped"`
	VmallocTotal   uint64 `json:"vmalloctotal"`
	VmallocUsed    uint64 `json:"vmallocused"`
	VmallocChunk   uint64 `json:"vmallocchunk"`
	HugePagesTotal uint64 `json:"hugepagestotal"`
	HugePagesFree  uint64 `json:"hugepagesfree"`
	HugePageSize   uint64 `json:"hugepagesize"`
}

// percent is part of whole in per cent, 0 of nothing.
func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole) * 100
}
