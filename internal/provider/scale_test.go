package provider

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// scaleConfig has a number of users, each with grants on each of a number of schemas.
const scaleConfig = requiredProviders + `
variable "port" { type = number }
variable "password" {
	type      = string
	ephemeral = true
}
variable "prefix" { type = string }
variable "users" { type = number }
variable "schemas" { type = number }

provider "stitch" {
	servers = { app = { host = "127.0.0.1", port = var.port, username = "postgres", password = var.password } }
}
resource "stitch_database_user" "reader" {
	count  = var.users
	server = "app"
	name   = "${var.prefix}_${count.index}"
}
resource "stitch_source_grants" "reader" {
	count    = var.users * var.schemas
	server   = "app"
	database = "shop"
	user     = stitch_database_user.reader[floor(count.index / var.schemas)].name
	schemas  = ["s_${count.index % var.schemas}"]
}
`

// newScale starts a server with the given schemas and tables, and prepares a workspace for each
// prefix.
func newScale(t *testing.T, users, schemas, tables int, prefixes ...string) (*sandbox.Server, []*workspace) {
	t.Helper()
	s := sandbox.OwnServer(t, sandbox.Config{LogStatements: true, Settings: map[string]string{"log_connections": "on"}})
	s.Exec(t, "postgres", "CREATE DATABASE shop")
	s.Exec(t, "shop", fmt.Sprintf(`DO $$ BEGIN
		FOR s IN 0..%d LOOP
			EXECUTE format('CREATE SCHEMA s_%%s', s);
			FOR t IN 1..%d LOOP EXECUTE format('CREATE TABLE s_%%s.t_%%s (id int)', s, t); END LOOP;
		END LOOP; END $$`, schemas-1, tables))
	var all []*workspace
	for _, prefix := range prefixes {
		all = append(all, newWorkspace(t, scaleConfig,
			fmt.Sprintf("TF_VAR_port=%d", s.Port), "TF_VAR_password="+s.Password, "TF_VAR_prefix="+prefix,
			fmt.Sprintf("TF_VAR_users=%d", users), fmt.Sprintf("TF_VAR_schemas=%d", schemas)))
	}
	return s, all
}

// asked counts the statements that a server received, and the sessions that sent them.
func asked(t *testing.T, s *sandbox.Server, f func()) (statements, sessions int) {
	t.Helper()
	count := func() (int, int) {
		log, err := s.Log()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(log, "LOG:  statement: ") + strings.Count(log, "LOG:  execute "), strings.Count(log, "connection authorized: ")
	}
	statements, sessions = count()
	f()
	after, sessionsAfter := count()
	return after - statements, sessionsAfter - sessions
}

// A plan of 220 resources reads each database once, through one connection. What is read is read
// again after ten seconds (pgclient.ReadShared), which a plan takes on a machine that is busy.
func TestAccScale(t *testing.T) {
	t.Parallel()
	s, workspaces := newScale(t, 20, 10, 20, "reader")
	w := workspaces[0]
	w.run(t, "apply", "-auto-approve", "-parallelism=10")
	began := time.Now()
	statements, sessions := asked(t, s, func() {
		if output, code := w.try(t, "plan", "-detailed-exitcode"); code != 0 {
			t.Errorf("the second plan is not empty:\n%s", output)
		}
	})
	readings := 1 + int(time.Since(began)/(10*time.Second))
	if statements-sessions > 20*readings || sessions > 4 { // each session begins with one more statement
		t.Errorf("a plan of 220 resources that changes nothing took %d statements of %d sessions, and was to read %d times", statements, sessions, readings)
	}
	w.run(t, "destroy", "-auto-approve", "-parallelism=10")
}

// Two Terraforms change privileges on the same objects at the same time, ten at a time each.
func TestAccTwoTerraforms(t *testing.T) {
	t.Parallel()
	s, workspaces := newScale(t, 5, 5, 10, "one", "two")
	runTogether(t, s, workspaces, "")
}

// The same, while a login without any other privilege holds the lock by which they take turns: both
// report it.
func TestAccTwoTerraformsWithoutTurns(t *testing.T) {
	t.Parallel()
	s, workspaces := newScale(t, 5, 5, 10, "one", "two")
	s.Exec(t, "postgres", "CREATE ROLE mallory LOGIN PASSWORD '"+s.Password+"'")
	holder, err := pgx.Connect(t.Context(), s.URLAs("mallory", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close(context.Background()) })
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(x'53746974'::int, 1)"); err != nil {
		t.Fatal(err)
	}
	runTogether(t, s, workspaces, fmt.Sprintf("pid %d (user mallory, idle)", holder.PgConn().PID()))
}

// runTogether applies and destroys all workspaces at the same time, twice. The output of each must
// contain a text.
func runTogether(t *testing.T, s *sandbox.Server, workspaces []*workspace, says string) {
	t.Helper()
	for _, command := range []string{"apply", "destroy", "apply", "destroy"} {
		var all sync.WaitGroup
		for _, w := range workspaces {
			all.Go(func() {
				output, code := w.try(t, command, "-auto-approve", "-parallelism=10")
				if code != 0 || !strings.Contains(strings.Join(strings.Fields(strings.ReplaceAll(output, "│", "")), " "), says) {
					t.Errorf("%s exited with %d, want 0 and %q:\n%s", command, code, says, output)
				}
			})
		}
		all.Wait()
	}
	if left := s.Query(t, "shop", "SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|postgres|mallory)'"); left != nil {
		t.Errorf("left: %q", left)
	}
}
