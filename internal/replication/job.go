package replication

import (
	"log/slog"
	"sync"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

// A job is what all workers of a run share.
type job struct {
	definition  Definition
	replication int64
	run         catalog.Run
	streams     int // workers in this process
	logger      *slog.Logger
	lease       time.Duration // of what a worker claims
	chunkRows   int
	rangeBytes  int64
	maxSnapshot time.Duration // how long a snapshot may be held; 0: without a bound
	expiries    *sync.Map     // by the names of shared snapshots, the times when they become too old
}
