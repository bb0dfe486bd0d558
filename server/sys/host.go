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
	resp := &engines.Response{Data: map[string]any{"timestamp": timestamp(e.Now())}}
	collect(resp, "cpu", func() (any, error) { return cpu.InfoWithContext(ctx) })
	collect(resp, "cpu_times", func() (any, error) { return cpu.TimesWithContext(ctx, true) })
	collect(resp, "disk", func() (any, error) { return disks(ctx) })
	collect(resp, "host", func() (any, error) { return host.InfoWithContext(ctx) })
	collect(resp, "memory", func() (any, error) { return mem.VirtualMemoryWithContext(ctx) })
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
