package provider

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A user that is replaced or tainted keeps its grants and what it owns, and gets the configured
// attributes. A replication that logs in as this user goes on.
func TestAccDatabaseUser_replaced(t *testing.T) {
	t.Parallel()
	p := newPipe(t, sandbox.Shared(t, 0))
	user, database := p.RoleName(t), p.DatabaseName(t)
	entries := map[string]string{
		"admin": administrator(p.Server),
		"user":  fmt.Sprintf("{ host = %q, port = %d, username = %q, password = \"secret-1\" }", p.Host, p.Port, user),
	}
	w := newWorkspace(t, requiredProviders+providerBlock(entries)+fmt.Sprintf(`
		resource "stitch_database_user" "u" {
			server              = "admin"
			name                = %[1]q
			password_wo         = "secret-1"
			password_wo_version = 1
			connection_limit    = 9
		}
		resource "stitch_source_grants" "g" {
			server   = "admin"
			database = %[2]q
			user     = stitch_database_user.u.name
			schemas  = ["public"]
		}
		resource "stitch_destination_database" "d" {
			server        = "admin"
			name          = %[3]q
			owner         = stitch_database_user.u.name
			force_destroy = true
		}
		resource "stitch_destination_schema" "s" {
			server        = "admin"
			database      = stitch_destination_database.d.name
			name          = "owned"
			owner         = stitch_database_user.u.name
		}
		resource "stitch_destination_grants" "g" {
			server   = "admin"
			database = stitch_destination_database.d.name
			user     = stitch_database_user.u.name
		}
		resource "stitch_replication" "r" {
			name          = "shop"
			source        = { server = "user", database = stitch_source_grants.g.database }
			destination   = { server = "user", database = stitch_destination_grants.g.database }
			tables        = { "public.countries" = { replication_method = "FULL_TABLE" } }
			force_destroy = true
		}
		resource "stitch_sync_run" "r" {
			replication = stitch_replication.r.id
			triggers    = { at = plantimestamp() }
		}`, user, p.source, database))
	w.run(t, "apply", "-auto-approve")
	facts := func() []string {
		return slices.Concat(
			p.Query(t, "postgres", `SELECT oid, rolconnlimit, rolcreatedb FROM pg_roles WHERE rolname = $1`, user),
			p.Query(t, p.source, `SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1`),
			p.Query(t, database, `SELECT nspname, nspowner::regrole, nspacl::text FROM pg_namespace WHERE nspname IN ('owned', 'shop', '_stitch') ORDER BY 1`))
	}
	before := facts()
	for what, steps := range map[string][][]string{
		"-replace": {{"apply", "-auto-approve", "-replace=stitch_database_user.u"}},
		"saved":    {{"plan", "-replace=stitch_database_user.u", "-out=saved"}, {"apply", "saved"}},
		"taint":    {{"taint", "stitch_database_user.u"}, {"apply", "-auto-approve"}},
		"target":   {{"apply", "-auto-approve", "-replace=stitch_database_user.u", "-target=stitch_database_user.u"}, {"apply", "-auto-approve"}},
	} {
		p.Exec(t, "postgres", "ALTER ROLE "+user+" PASSWORD 'another' CONNECTION LIMIT 1 CREATEDB")
		output := ""
		for _, arguments := range steps {
			output += w.run(t, arguments...)
		}
		if !strings.Contains(words(output), "was not dropped") {
			t.Errorf("%s: nothing is said:\n%s", what, output)
		}
		if after := facts(); !slices.Equal(after, before) {
			t.Errorf("%s:\n%q\nbecame\n%q", what, before, after)
		}
		w.run(t, "apply", "-auto-approve") // with a run, as that user
		if output := w.run(t, "plan"); !strings.Contains(output, "0 to add, 1 to change, 0 to destroy") {
			t.Errorf("%s: the plan after has more than the run:\n%s", what, output)
		}
	}
	w.run(t, "destroy", "-auto-approve", "-target=stitch_database_user.u")
	if got := p.Query(t, "postgres", `SELECT FROM pg_roles WHERE rolname = $1`, user); len(got) != 0 {
		t.Error("the user is left")
	}
	w.run(t, "apply", "-auto-approve")
	w.run(t, "destroy", "-auto-approve")
}

// A user on whom nothing depends is dropped and created again.
func TestAccDatabaseUser_replacedAlone(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	user := s.RoleName(t)
	w := newWorkspace(t, requiredProviders+providerBlock(map[string]string{"admin": administrator(s)})+fmt.Sprintf(`
		resource "stitch_database_user" "u" {
			server = "admin"
			name   = %q
		}`, user))
	w.run(t, "apply", "-auto-approve")
	oid := s.Query(t, "postgres", `SELECT oid FROM pg_roles WHERE rolname = $1`, user)
	w.run(t, "apply", "-auto-approve", "-replace=stitch_database_user.u")
	if now := s.Query(t, "postgres", `SELECT oid FROM pg_roles WHERE rolname = $1`, user); len(now) != 1 || slices.Equal(now, oid) {
		t.Errorf("oid %q became %q", oid, now)
	}
	s.Exec(t, "postgres", "GRANT CREATE ON DATABASE postgres TO "+user)
	if output, code := w.try(t, "destroy", "-auto-approve"); code != 1 || !strings.Contains(words(output), "does not change or drop any of these by itself") {
		t.Errorf("destroy: exit code %d\n%s", code, output)
	}
	s.Exec(t, "postgres", "REVOKE CREATE ON DATABASE postgres FROM "+user)
	w.run(t, "destroy", "-auto-approve")
}
