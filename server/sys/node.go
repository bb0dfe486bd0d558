package sys

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"coffer/engines"
)

// InFlight knows the requests that are being served.
type InFlight interface {
	// Requests returns them by their ids.
	Requests(ctx context.Context) (map[string]InFlightRequest, error)
}

// InFlightRequest is a request that is being served.
type InFlightRequest struct {
	StartTime           time.Time `json:"start_time"`
	ClientRemoteAddress string    `json:"client_remote_address"`
	RequestPath         string    `json:"request_path"`
	RequestMethod       string    `json:"request_method"`
	// ClientID names who asks; it is not the token.
	ClientID string `json:"client_id"`
}

func (e *engine) nodeRoutes() []engines.Route {
	return []engines.Route{
		engines.Path("version-history", "List the versions that ran on this data.", engines.OnList(e.versionHistory)),
		engines.Path("version-history/", "List the versions that ran on this data.", engines.OnList(e.versionHistory)),
		engines.Path("ha-status", "List the nodes of the cluster.", engines.OnRead(e.haStatus)),
		engines.Path("config/state/sanitized", "Read the configuration without its secrets.", engines.OnRead(e.sanitized)),
		engines.Path("replication/status", "Tell that nothing is replicated.", engines.Unauthenticated(),
			engines.OnRead(replicationStatus)),
		engines.Path("internal/counters/requests", "Removed.", engines.OnRead(removed)),
		engines.Path("internal/counters/entities", "Count the entities.", engines.OnRead(countEntities)),
		engines.Path("internal/counters/config", "Tell that clients are not counted.", engines.OnRead(countersConfig)),
		engines.Path("in-flight-req", "List the requests that are being served.", engines.OnRead(e.inFlight)),
	}
}

func (e *engine) versionHistory(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	var previous any
	var keys []string
	info := make(map[string]any)
	for _, v := range e.Settings.Versions() {
		keys = append(keys, v.Version)
		info[v.Version] = map[string]any{
			"previous_version": previous, "timestamp_installed": timestamp(v.Installed), "build_date": v.BuildDate,
		}
		previous = v.Version
	}
	return read(map[string]any{"keys": keys, "key_info": info})
}

func (e *engine) haStatus(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return flat(map[string]any{"nodes": []haNode{{
		Hostname: name, APIAddress: e.Node.APIAddress, ClusterAddress: e.Node.ClusterAddress,
		ActiveNode: true, Version: e.Node.Version,
	}}})
}

// haNode is a row of `sys/ha-status`.
type haNode struct {
	Hostname           string     `json:"hostname"`
	APIAddress         string     `json:"api_address"`
	ClusterAddress     string     `json:"cluster_address"`
	ActiveNode         bool       `json:"active_node"`
	LastEcho           *time.Time `json:"last_echo"`
	Version            string     `json:"version"`
	EchoDurationMS     int64      `json:"echo_duration_ms"`
	ClockSkewMS        int64      `json:"clock_skew_ms"`
	PrimaryCanaryAgeMS int64      `json:"replication_primary_canary_age_ms"`
}

func (e *engine) sanitized(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	data := e.Node.Sanitized
	if data == nil {
		data = map[string]any{}
	}
	return read(data)
}

// inFlight answers without an envelope, as Vault does.
func (e *engine) inFlight(ctx context.Context, _ *engines.Request, _ engines.NoParams) (*engines.Response, error) {
	requests, err := e.InFlight.Requests(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(requests)
	if err != nil {
		return nil, err
	}
	return &engines.Response{Raw: &engines.Raw{ContentType: "application/json", Body: append(body, '\n')}}, nil
}

func replicationStatus(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return &engines.Response{Data: map[string]any{"mode": "disabled"}, NoMountType: true}, nil
}

func removed(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return nil, engines.NotFoundf("The functionality has been removed on this path")
}

func countEntities(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{"counters": map[string]any{"entities": map[string]any{"total": 0}}})
}

func countersConfig(context.Context, *engines.Request, engines.NoParams) (*engines.Response, error) {
	return read(map[string]any{
		"enabled": "default-disabled", "queries_available": false, "reporting_enabled": false,
		"retention_months": 48, "minimum_retention_months": 0, "billing_start_timestamp": "0001-01-01T00:00:00Z",
	})
}
