package host

import "github.com/prometheus/procfs"

// AboutMemory describes the machine's memory.
func AboutMemory() (Memory, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return Memory{}, err
	}
	m, err := proc.Meminfo()
	if err != nil {
		return Memory{}, err
	}
	total, free, cached := known(m.MemTotalBytes), known(m.MemFreeBytes), known(m.CachedBytes)
	available := known(m.MemAvailableBytes)
	use := memoryUse{Total: total, Available: available, Free: free, Active: known(m.ActiveBytes),
		Inactive: known(m.InactiveBytes)}
	if total >= available {
		use.Used = total - available
	}
	use.UsedPercent = percent(use.Used, total)
	return Memory{
		use,
		memoryCaches{Buffers: known(m.BuffersBytes), Cached: cached + known(m.SReclaimableBytes),
			WriteBack: known(m.WritebackBytes), Dirty: known(m.DirtyBytes), WriteBackTmp: known(m.WritebackTmpBytes),
			Shared: known(m.ShmemBytes), Slab: known(m.SlabBytes), SReclaimable: known(m.SReclaimableBytes),
			SUnreclaim: known(m.SUnreclaimBytes), PageTables: known(m.PageTablesBytes), SwapCached: known(m.SwapCachedBytes),
			CommitLimit: known(m.CommitLimitBytes), CommittedAS: known(m.CommittedASBytes)},
		memoryZones{SwapTotal: known(m.SwapTotalBytes), SwapFree: known(m.SwapFreeBytes)},
		memoryPages{Mapped: known(m.MappedBytes), VmallocTotal: known(m.VmallocTotalBytes),
			VmallocUsed: known(m.VmallocUsedBytes), VmallocChunk: known(m.VmallocChunkBytes),
			HugePagesTotal: known(m.HugePagesTotal), HugePagesFree: known(m.HugePagesFree),
			HugePageSize: known(m.HugepagesizeBytes)},
	}, nil
}

// known is 0 for what the kernel does not tell.
func known(figure *uint64) uint64 {
	if figure == nil {
		return 0
	}
	return *figure
}
