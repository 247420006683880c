package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	sourceDatabase      = "shop"
	destinationDatabase = "analytics"
	destinationSchema   = "shop_postgresql"
)

//go:embed source.sql
var sourceSQL string

// startServers starts the servers, and passes their addresses to Terraform and PostgreSQL's
// programs through the environment, which other users cannot read.
func (q *quickstart) startServers(ctx context.Context) (err error) {
	major, err := newestWithPgbench()
	if err != nil {
		return err
	}
	if q.source, err = sandbox.Start(ctx, sandbox.Config{Major: major, TLS: true}); err != nil {
		return err
	}
	if q.destination, err = sandbox.Start(ctx, sandbox.Config{Major: major}); err != nil {
		return err
	}
	q.appPassword, q.warehousePassword = rand.Text(), rand.Text()
	q.terraform.env = append(q.terraform.env, q.variables()...)
	if _, err := execute(ctx, q.source, "postgres", "CREATE DATABASE "+sourceDatabase); err != nil {
		return err
	}
	fmt.Printf("  PostgreSQL %d at %s:%d, the source\n", q.source.Major, q.source.Host, q.source.Port)
	fmt.Printf("  PostgreSQL %d at %s:%d, the destination\n", q.destination.Major, q.destination.Host, q.destination.Port)
	return os.WriteFile(q.path("services.conf"), []byte(q.services()), 0o600)
}

// newestWithPgbench returns the newest major that comes with pgbench: not every major that the
// sandbox can start does.
func newestWithPgbench() (int, error) {
	for _, major := range slices.Backward(sandbox.Majors()) {
		for _, root := range []string{os.Getenv("STITCH_POSTGRES_DIR"), "/usr/lib/postgresql"} {
			if _, err := os.Stat(filepath.Join(root, strconv.Itoa(major), "bin", "pgbench")); err == nil {
				return major, nil
			}
		}
	}
	return 0, errors.New("no PostgreSQL server with pgbench was found under /usr/lib/postgresql: on Debian, run apt-get install postgresql")
}

// variables are the variables of examples/quickstart.
func (q *quickstart) variables() []string {
	return []string{
		"TF_VAR_app_host=" + q.source.Host,
		fmt.Sprint("TF_VAR_app_port=", q.source.Port),
		"TF_VAR_app_admin=" + q.source.Username,
		"TF_VAR_app_admin_password=" + q.source.Password,
		"TF_VAR_warehouse_host=" + q.destination.Host,
		fmt.Sprint("TF_VAR_warehouse_port=", q.destination.Port),
		"TF_VAR_warehouse_admin=" + q.destination.Username,
		"TF_VAR_warehouse_admin_password=" + q.destination.Password,
		"TF_VAR_app_stitch_password=" + q.appPassword,
		"TF_VAR_warehouse_stitch_password=" + q.warehousePassword,
	}
}

// services is a connection service file: "psql service=source" needs no password.
func (q *quickstart) services() string {
	var b strings.Builder
	for _, service := range []struct {
		name, database, user, password string
		server                         *sandbox.Server
	}{
		{"source", sourceDatabase, q.source.Username, q.source.Password, q.source},
		{"source_stitch", sourceDatabase, "stitch", q.appPassword, q.source},
		{"destination", destinationDatabase, q.destination.Username, q.destination.Password, q.destination},
		{"destination_stitch", destinationDatabase, "stitch", q.warehousePassword, q.destination},
	} {
		fmt.Fprintf(&b, "[%s]\nhost=%s\nport=%d\ndbname=%s\nuser=%s\npassword=%s\n\n",
			service.name, service.server.Host, service.server.Port, service.database, service.user, service.password)
	}
	return b.String()
}

// fillSource creates what Terraform will find.
func (q *quickstart) fillSource(ctx context.Context) error {
	if err := q.pgbench(ctx, "-i", "-s", "10", "-q"); err != nil {
		return err
	}
	if _, err := execute(ctx, q.source, sourceDatabase, sourceSQL); err != nil {
		return fmt.Errorf("create the shop: %w", err)
	}
	lines, err := texts(ctx, q.source, sourceDatabase, `
		SELECT 'database `+sourceDatabase+`, schema ' || table_schema || ': ' || pg_catalog.string_agg(table_name, ', ' ORDER BY table_name)
		FROM information_schema.tables
		WHERE table_schema IN ('public', 'shop') AND table_name !~ '_(2025_.|later)$'
		GROUP BY table_schema
		ORDER BY table_schema`)
	if err != nil {
		return err
	}
	for _, line := range lines {
		fmt.Printf("  %s\n", line)
	}
	q.before, err = q.rights(ctx)
	return err
}

// pgbench runs pgbench against the source.
func (q *quickstart) pgbench(ctx context.Context, args ...string) error {
	args = append(args, "service=source")
	fmt.Printf("  $ pgbench %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, q.source.Program("pgbench"), args...)
	cmd.Env = sandbox.Environment("PGSERVICEFILE=" + q.path("services.conf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	return nil
}

// connect opens a session as superuser.
func connect(ctx context.Context, s *sandbox.Server, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, s.URL(database))
}

// execute runs SQL as superuser and returns how many rows the last statement affected.
func execute(ctx context.Context, s *sandbox.Server, database, sql string) (int64, error) {
	conn, err := connect(ctx, s, database)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return 0, err
	}
	return results[len(results)-1].CommandTag.RowsAffected(), nil
}

// texts runs a query as superuser and returns its only column.
func texts(ctx context.Context, s *sandbox.Server, database, sql string, args ...any) ([]string, error) {
	conn, err := connect(ctx, s, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, _ := conn.Query(ctx, sql, args...)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
