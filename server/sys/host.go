package sys

import (
	"context"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"coffer/engines"
)

func (e *engine) hostRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("host-info", "Tell about the machine this node runs on.", engines.OptionalSlash(),
			engines.OnRead(e.hostInfo)),
	}
}

// hostInfo answers with what can be found out; the rest is a warning each.
func (e *engine) hostInfo(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	resp := &engines.Response{Data: map[string]any{"timestamp": timestamp(e.Wall())}}
	collect(resp, "cpu", func() (any, error) { return cpu.InfoWithContext(ctx) })
	collect(resp, "cpu_times", func() (any, error) { return cpu.TimesWithContext(ctx, true) })
	collect(resp, "disk", func() (any, error) { return disks(ctx) })
	collect(resp, "host", func() (any, error) { return aboutHost(ctx) })
	collect(resp, "memory", func() (any, error) { return aboutMemory(ctx) })
	return resp, ctx.Err()
}

func collect(resp *engines.Response, name string, find func() (any, error)) {
	found, err := find()
	if err != nil {
		resp.Warnings = append(resp.Warnings, "unable to collect "+name+" information")
		return
	}
	resp.Data[name] = found
}

func disks(ctx context.Context) ([]*disk.UsageStat, error) {
	partitions, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return nil, err
	}
	usages := make([]*disk.UsageStat, 0, len(partitions))
	for _, partition := range partitions {
		usage, err := disk.UsageWithContext(ctx, partition.Mountpoint)
		if err != nil {
			return nil, err
		}
		usages = append(usages, usage)
	}
	return usages, nil
}

// hostInfo is `data.host` of `sys/host-info`, with Vault's names, which are those of an older version of the library.
type hostInfo struct {
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

func aboutHost(ctx context.Context) (any, error) {
	found, err := host.InfoWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return hostInfo(*found), nil
}

// memoryInfo is `data.memory` of `sys/host-info`, in bytes, its members in Vault's order.
type memoryInfo struct {
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
	Wired       uint64  `json:"wired"`
	Laundry     uint64  `json:"laundry"`
}

type memoryCaches struct {
	Buffers      uint64 `json:"buffers"`
	Cached       uint64 `json:"cached"`
	WriteBack    uint64 `json:"writeback"`
	Dirty        uint64 `json:"dirty"`
	WriteBackTmp uint64 `json:"writebacktmp"`
	Shared       uint64 `json:"shared"`
	Slab         uint64 `json:"slab"`
	Sreclaimable uint64 `json:"sreclaimable"`
	Sunreclaim   uint64 `json:"sunreclaim"`
	PageTables   uint64 `json:"pagetables"`
	SwapCached   uint64 `json:"swapcached"`
	CommitLimit  uint64 `json:"commitlimit"`
	CommittedAS  uint64 `json:"committedas"`
}

type memoryZones struct {
	HighTotal uint64 `json:"hightotal"`
	HighFree  uint64 `json:"highfree"`
	LowTotal  uint64 `json:"lowtotal"`
	LowFree   uint64 `json:"lowfree"`
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

func aboutMemory(ctx context.Context) (any, error) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, err
	}
	return memoryInfo{
		memoryUse{Total: m.Total, Available: m.Available, Used: m.Used, UsedPercent: m.UsedPercent, Free: m.Free,
			Active: m.Active, Inactive: m.Inactive, Wired: m.Wired, Laundry: m.Laundry},
		memoryCaches{Buffers: m.Buffers, Cached: m.Cached, WriteBack: m.WriteBack, Dirty: m.Dirty,
			WriteBackTmp: m.WriteBackTmp, Shared: m.Shared, Slab: m.Slab, Sreclaimable: m.Sreclaimable,
			Sunreclaim: m.Sunreclaim, PageTables: m.PageTables, SwapCached: m.SwapCached, CommitLimit: m.CommitLimit,
			CommittedAS: m.CommittedAS},
		memoryZones{HighTotal: m.HighTotal, HighFree: m.HighFree, LowTotal: m.LowTotal, LowFree: m.LowFree,
			SwapTotal: m.SwapTotal, SwapFree: m.SwapFree},
		memoryPages{Mapped: m.Mapped, VmallocTotal: m.VmallocTotal, VmallocUsed: m.VmallocUsed,
			VmallocChunk: m.VmallocChunk, HugePagesTotal: m.HugePagesTotal, HugePagesFree: m.HugePagesFree,
			HugePageSize: m.HugePageSize},
	}, nil
}
