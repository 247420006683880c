package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const database = "postgres"

func (b *bench) fill(ctx context.Context, t table) error {
	return execute(ctx, b.source, fmt.Sprintf(t.create, t.rows)+"; ANALYZE "+t.name)
}

func execute(ctx context.Context, s *sandbox.Server, sql string) error {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// engine is one first load by a sync run.
func (b *bench) engine(ctx context.Context, t table) (measure, error) {
	servers := postgres.NewServers(map[string]postgres.Config{"source": config(b.source), "destination": config(b.destination)})
	defer servers.Close()
	destinationServer, _ := servers.Server("destination")
	destination := postgres.Endpoint{Server: destinationServer, Database: database}
	definition := replication.Definition{
		Name: "Bench", SchemaName: "bench",
		Source:      replication.Endpoint{Server: "source", Database: database},
		Destination: replication.Endpoint{Server: "destination", Database: database},
		Tables:      map[string]replication.Selection{"public." + t.name: {Method: replication.FullTable}},
	}
	if err := replication.Create(ctx, destination, definition, false); err != nil {
		return measure{}, err
	}
	runner := replication.Runner{Server: func(name string) (*postgres.Server, error) {
		s, _ := servers.Server(name)
		return s, nil
	}}
	var bytes int64
	m, err := b.measure(func() error {
		run, err := runner.Run(ctx, destination, "bench")
		for _, report := range run.Tables {
			bytes += report.Bytes
		}
		return err
	})
	m.bytes = bytes
	if err != nil {
		return measure{}, err
	}
	return m, replication.Delete(ctx, destination, "bench", true)
}

func config(s *sandbox.Server) postgres.Config {
	return postgres.Config{Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password}
}

// pipe is the same with two psql.
func (b *bench) pipe(ctx context.Context, t table) (measure, error) {
	if err := execute(ctx, b.destination, "DROP TABLE IF EXISTS public."+t.name); err != nil {
		return measure{}, err
	}
	columns, err := b.columns(ctx, t)
	if err != nil {
		return measure{}, err
	}
	return b.measure(func() error {
		out := b.psql(ctx, b.source, fmt.Sprintf("COPY %s TO STDOUT (FORMAT binary)", t.name))
		in := b.psql(ctx, b.destination, fmt.Sprintf("CREATE TABLE %s (%s)", t.name, columns),
			fmt.Sprintf("COPY %s FROM STDIN (FORMAT binary)", t.name), fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (id)", t.name))
		if in.Stdin, err = out.StdoutPipe(); err != nil {
			return err
		}
		if err := out.Start(); err != nil {
			return err
		}
		if err := in.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, in.Stderr)
		}
		return out.Wait()
	})
}

// columns writes the columns of a table as CREATE TABLE has them.
func (b *bench) columns(ctx context.Context, t table) (string, error) {
	conn, err := pgx.Connect(ctx, b.source.URL(database))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	rows, _ := conn.Query(ctx, `
		SELECT pg_catalog.quote_ident(attname) || ' ' || pg_catalog.format_type(atttypid, atttypmod)
		FROM pg_catalog.pg_attribute
		WHERE attrelid = $1::text::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped
		ORDER BY attnum`, t.name)
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(columns, ", "), err
}

// sourceOnly reads the table and throws it away.
func (b *bench) sourceOnly(ctx context.Context, t table) (measure, error) {
	return b.measure(func() error {
		out := b.psql(ctx, b.source, fmt.Sprintf("COPY %s TO STDOUT (FORMAT binary)", t.name))
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		out.Stdout = null
		return out.Run()
	})
}

func (b *bench) psql(ctx context.Context, s *sandbox.Server, commands ...string) *exec.Cmd {
	args := []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", s.Host, "-p", fmt.Sprint(s.Port), "-U", s.Username, "-d", database}
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	cmd := exec.CommandContext(ctx, s.Program("psql"), args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+s.Password)
	cmd.Stderr = &bytes.Buffer{}
	return cmd
}
