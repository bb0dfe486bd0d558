package core

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"coffer/storage"
)

// cluster names this installation to its clients.
type cluster struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

const clusterPath = "core/cluster"

var errNoCluster = errors.New("core/cluster cannot be read, without which nothing can be found: put a backup back")

// newCluster returns a random identity: a name people can tell apart and a UUID (RFC 9562).
func newCluster() cluster {
	var b [4]byte
	rand.Read(b[:])
	return cluster{Name: "vault-cluster-" + hex.EncodeToString(b[:]), ID: uuid.NewString()}
}

// loadCluster reads the installation's identity, or makes one.
func (s *session) loadCluster(ctx context.Context) error {
	record, err := s.barrier.Get(ctx, clusterPath)
	switch {
	case err == nil:
		err = json.Unmarshal(record, &s.cluster)
	case errors.Is(err, storage.ErrNotFound):
		s.cluster = newCluster()
		if record, err = json.Marshal(s.cluster); err == nil {
			err = s.barrier.Apply(ctx, storage.Put(clusterPath, record))
		}
	}
	if errors.Is(err, storage.ErrDamaged) || err == nil && s.cluster.ID == "" {
		// Where the built-in mounts keep what they store follows from it: nobody knows who may do what without it.
		return fmt.Errorf("%w: %w", errNoCluster, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", clusterPath, err)
	}
	if s.cfg.ClusterName != "" {
		s.cluster.Name = s.cfg.ClusterName
	}
	return nil
}
