package tablesync

import (
	"log/slog"
	"sync"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
)

// A Job is what all workers of a run share.
type Job struct {
	Definition  definition.Definition
	Replication int64
	Run         catalog.Run
	Streams     int // workers in this process
	Logger      *slog.Logger
	Lease       time.Duration // of what a worker claims
	ChunkRows   int
	RangeBytes  int64
	MaxSnapshot time.Duration // how long a snapshot may be held; 0: without a bound
	Expiries    *sync.Map     // by the names of shared snapshots, the times when they become too old
}
