package replication

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func effort(t testing.TB) int { return sandbox.Effort(t) }

func seedOf(t testing.TB) uint64 { return sandbox.Seed(t) }
