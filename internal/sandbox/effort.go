package sandbox

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Effort is the factor by which the adversarial tests do more than in `make test`. `make torture`
// sets it.
func Effort(t testing.TB) int {
	t.Helper()
	return environment(t, "STITCH_TORTURE", 1)
}

// Seed is the seed of everything random in a test. It is the requested one, or a new one in `make
// torture`, or otherwise always the same, so that a test that fails says something about the change
// at hand.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := 1
	if Effort(t) > 1 {
		seed = int(time.Now().UnixMilli())
	}
	return uint64(environment(t, "STITCH_SEED", seed))
}

// environment reads a positive number from the environment.
func environment(t testing.TB, name string, otherwise int) int {
	t.Helper()
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
