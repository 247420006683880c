package privilege

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A shop is a pgtest.Shop with grants to sources.
type shop struct{ pgtest.Shop }

func newShop(t *testing.T, s *sandbox.Server) shop {
	t.Helper()
	return shop{pgtest.NewShop(t, s)}
}

func (s shop) grants(schemas ...string) SourceGrants {
	return SourceGrants{Database: s.Name, User: s.User, Schemas: schemas, FutureTables: true}
}

func (s shop) missing(t *testing.T, g SourceGrants) []string {
	t.Helper()
	drift, err := SourceDrift(t.Context(), s.Admin, g)
	if err != nil {
		t.Fatal(err)
	}
	return drift.Missing
}

func (s shop) grant(t *testing.T, g SourceGrants) {
	t.Helper()
	if err := GrantSource(t.Context(), s.Admin, g); err != nil {
		t.Fatal(err)
	}
}

func (s shop) revoke(t *testing.T, g SourceGrants) {
	t.Helper()
	if err := RevokeSource(t.Context(), s.Admin, g); err != nil {
		t.Fatal(err)
	}
}

func (s shop) update(t *testing.T, old, want SourceGrants) {
	t.Helper()
	if err := UpdateSource(t.Context(), s.Admin, old, want); err != nil {
		t.Fatal(err)
	}
}
