package sys

import (
	"context"

	"coffer/engines"
	"coffer/server/host"
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
	collect(resp, "cpu", host.CPUs)
	collect(resp, "cpu_times", host.CPUTimes)
	collect(resp, "disk", host.Disks)
	collect(resp, "host", host.About)
	collect(resp, "memory", host.AboutMemory)
	return resp, ctx.Err()
}

func collect[T any](resp *engines.Response, name string, find func() (T, error)) {
	found, err := find()
	if err != nil {
		resp.Warnings = append(resp.Warnings, "unable to collect "+name+" information")
		return
	}
	resp.Data[name] = found
}
