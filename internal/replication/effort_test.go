package replication

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// effort is how many times as much as in `make test` the adversarial tests are
// to do. `make torture` sets it.
func effort(t testing.TB) int {
	return environment(t, "STITCH_TORTURE", 1)
}

// seedOf is the seed from which a test draws all that is random: the one that
// was asked for, a new one in `make torture`, and otherwise always the same, so
// that a test that fails says something about the change at hand.
func seedOf(t testing.TB) uint64 {
	seed := 1
	if effort(t) > 1 {
		seed = int(time.Now().UnixMilli())
	}
	return uint64(environment(t, "STITCH_SEED", seed))
}

// environment reads a positive number from the environment.
func environment(t testing.TB, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q and should be a positive number", name, text)
	}
	return n
}
