package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const database = "postgres"

// A server is one of the two, with a session to prepare and inspect it.
type server struct {
	*sandbox.Server
	conn *pgx.Conn
}

// A bench is two servers and what runs between them.
type bench struct {
	source, destination *server
}

// start starts the newest PostgreSQL that comes with psql, twice.
func start(ctx context.Context) (*bench, error) {
	for _, major := range slices.Backward(sandbox.Majors()) {
		source, err := startServer(ctx, major)
		if err != nil {
			return nil, err
		}
		if source.Program("psql") == "" {
			source.stop()
			continue
		}
		destination, err := startServer(ctx, major)
		if err != nil {
			source.stop()
			return nil, err
		}
		return &bench{source, destination}, nil
	}
	return nil, fmt.Errorf("no PostgreSQL here has psql: install the distribution's package")
}

func startServer(ctx context.Context, major int) (*server, error) {
	// Neither checkpoints nor autovacuum may begin while only one side of a ratio is measured.
	settings := map[string]string{"max_wal_size": "8GB", "checkpoint_timeout": "1d", "autovacuum": "off", "log_connections": "on"}
	s, err := sandbox.Start(ctx, sandbox.Config{Major: major, Settings: settings})
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		_ = s.Stop()
		return nil, err
	}
	return &server{s, conn}, nil
}

// config is how the provider reaches the server.
func (s *server) config() pgclient.Config {
	return pgclient.Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password, SSLMode: "disable"}
}

func (s *server) stop() {
	_ = s.conn.Close(context.Background())
	_ = s.Stop()
}

func (b *bench) stop() {
	b.source.stop()
	b.destination.stop()
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// execute runs statements in one transaction.
func (s *server) execute(ctx context.Context, sql string) error {
	_, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// value returns the only value of a query's result.
func value[T any](ctx context.Context, s *server, sql string, args ...any) (T, error) {
	rows, _ := s.conn.Query(ctx, sql, args...)
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

// checkDisk fails if a directory has less free space than the servers need.
func checkDisk(dir string, need int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("look for room in %s: %w", dir, err)
	}
	// The types of the fields differ between systems.
	if free := float64(disk.Bavail) * float64(disk.Bsize); free < float64(need) {
		return fmt.Errorf("%s has %.0f GB free, and the servers may need %d: set TMPDIR to a directory that has", dir, free/(1<<30), need>>30)
	}
	return nil
}
