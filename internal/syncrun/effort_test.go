package syncrun

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// effort is how many times as much as in `make test` the adversarial tests do. `make torture`
// sets it.
func effort(t testing.TB) int { return sandbox.Effort(t) }

// seedOf is the seed from which a test draws all that is random.
func seedOf(t testing.TB) uint64 { return sandbox.Seed(t) }
