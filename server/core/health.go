package core

import (
	"context"
	"time"
)

// Health is the answer of `sys/health`.
type Health struct {
	Initialized                bool   `json:"initialized"`
	Sealed                     bool   `json:"sealed"`
	Standby                    bool   `json:"standby"`
	PerformanceStandby         bool   `json:"performance_standby"`
	ReplicationPerformanceMode string `json:"replication_performance_mode"`
	ReplicationDRMode          string `json:"replication_dr_mode"`
	ServerTimeUTC              int64  `json:"server_time_utc"`
	Version                    string `json:"version"`
	Enterprise                 bool   `json:"enterprise"`
	ClusterName                string `json:"cluster_name,omitempty"`
	ClusterID                  string `json:"cluster_id,omitempty"`
	EchoDurationMS             int64  `json:"echo_duration_ms"`
	ClockSkewMS                int64  `json:"clock_skew_ms"`
	PrimaryCanaryAgeMS         int64  `json:"replication_primary_canary_age_ms"`
	// StorageError says why nothing is written at present. Vault has no such field.
	StorageError string `json:"storage_error,omitempty"`
	// DamagedRecords is how many stored records were found that cannot be read; sys/damaged tells which. Vault has no
	// such field.
	DamagedRecords int `json:"damaged_records,omitempty"`
}

// Health tells the state of the server. It is cheap: probes call it every few seconds.
func (c *Core) Health(ctx context.Context) (Health, error) {
	h := Health{Initialized: true, ReplicationPerformanceMode: "disabled", ReplicationDRMode: "disabled",
		ServerTimeUTC: c.Now().Unix(), Version: c.cfg.Build.Version, StorageError: c.storageError(),
		DamagedRecords: c.damagedRecords()}
	s := c.session.Load()
	if s != nil {
		h.ClusterName, h.ClusterID = s.cluster.Name, s.cluster.ID
		return h, nil
	}
	// A sealed node does not know the other node's state; Vault says standby and "unknown".
	h.Sealed, h.Standby = true, true
	h.ReplicationPerformanceMode, h.ReplicationDRMode = "unknown", "unknown"
	initialized, err := c.initialized(ctx)
	if err != nil && h.StorageError != "" {
		return h, nil // a store that cannot be read was one, and the error says what is the matter
	}
	h.Initialized = initialized
	return h, err
}

// Leader is the answer of `sys/leader` on a single node.
type Leader struct {
	HAEnabled            bool      `json:"ha_enabled"`
	IsSelf               bool      `json:"is_self"`
	ActiveTime           time.Time `json:"active_time"`
	LeaderAddress        string    `json:"leader_address"`
	LeaderClusterAddress string    `json:"leader_cluster_address"`
	PerformanceStandby   bool      `json:"performance_standby"`
	LastRemoteWAL        uint64    `json:"performance_standby_last_remote_wal"`
}

// Leader serves `sys/leader`.
func (c *Core) Leader(context.Context, Call) (any, error) {
	return Leader{}, nil
}

// State tells people, and the service manager, how the server is.
type State struct {
	Initialized, Sealed bool
	// Seal is the type of the seal that the data is under, or will be.
	Seal string
	// Threshold is how many keys open the server; 0 before it is initialised.
	Threshold int
}

// State tells how the server is.
func (c *Core) State(ctx context.Context) (State, error) {
	status, err := c.unseal.Status(ctx)
	if err != nil {
		return State{}, err
	}
	return State{Initialized: status.Initialized, Sealed: c.Sealed(), Seal: status.Type, Threshold: status.T}, nil
}
