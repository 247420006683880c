package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"
)

// pipe is a first load with two psql for each table.
func (b *bench) pipe(ctx context.Context, d dataset) (measure, error) {
	definitions := map[string]declaration{}
	for _, t := range d.tables {
		var err error
		if definitions[t.name], err = b.definition(ctx, t.name); err != nil {
			return measure{}, err
		}
	}
	m, err := b.measure(ctx, func() error {
		for _, t := range d.tables {
			out := b.source.psql(ctx, copyOut(t))
			in := b.destination.psql(ctx, fmt.Sprintf("CREATE TABLE %s (%s)", t.name, definitions[t.name].columns),
				fmt.Sprintf("COPY %s FROM STDIN (FORMAT binary)", t.name),
				fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", t.name, definitions[t.name].key))
			if err := connect(out, in); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return measure{}, err
	}
	m.rows = d.rows()
	return m, b.destination.drop(ctx, d) // so that the next way finds as many free buffers
}

// sourceOnly reads the tables and discards the rows.
func (b *bench) sourceOnly(ctx context.Context, d dataset) (measure, error) {
	var commands []string
	for _, t := range d.tables {
		commands = append(commands, copyOut(t))
	}
	m, err := b.measure(ctx, func() error {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		out := b.source.psql(ctx, commands...)
		out.Stdout = null
		return explain(out, out.Run())
	})
	m.rows = d.rows()
	return m, err
}

func copyOut(t table) string { return fmt.Sprintf("COPY public.%s TO STDOUT (FORMAT binary)", t.name) }

// merge brings the rows that have changed since a bookmark into a table, as a user would write it
// with psql.
func (b *bench) merge(ctx context.Context, name, target, bookmark string) (measure, error) {
	d, err := b.definition(ctx, name)
	if err != nil {
		return measure{}, err
	}
	var sets []string
	for _, column := range d.names {
		sets = append(sets, fmt.Sprintf("%[1]s = excluded.%[1]s", column))
	}
	names := strings.Join(d.names, ", ")
	query := fmt.Sprintf("SELECT %s FROM %s WHERE updated_at >= '%s'", names, name, bookmark)
	m, err := b.measure(ctx, func() error {
		return connect(b.source.psql(ctx, "COPY ("+query+") TO STDOUT (FORMAT binary)"),
			b.destination.psql(ctx, "BEGIN",
				fmt.Sprintf("CREATE TEMP TABLE changed (LIKE %s) ON COMMIT DROP", target),
				fmt.Sprintf("COPY changed (%s) FROM STDIN (FORMAT binary)", names),
				fmt.Sprintf("INSERT INTO %s (%[2]s) SELECT %[2]s FROM changed ON CONFLICT (%s) DO UPDATE SET %s", target, names, d.key, strings.Join(sets, ", ")),
				"COMMIT"))
	})
	if err != nil {
		return measure{}, err
	}
	m.rows, err = value[int64](ctx, b.source, "SELECT count(*) FROM ("+query+") AS changed") // only now: earlier, it would warm up the source
	return m, err
}

// connect runs two programs, the first piped into the second.
func connect(out, in *exec.Cmd) (err error) {
	if in.Stdin, err = out.StdoutPipe(); err != nil {
		return err
	}
	if err := out.Start(); err != nil {
		return err
	}
	if err := explain(in, in.Run()); err != nil {
		_ = out.Process.Kill()
		_ = out.Wait()
		return err
	}
	return explain(out, out.Wait())
}

func explain(cmd *exec.Cmd, err error) error {
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, cmd.Stderr)
	}
	return nil
}

// psql runs commands, each in its own transaction unless they say BEGIN.
func (s *server) psql(ctx context.Context, commands ...string) *exec.Cmd {
	args := []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", s.Host, "-p", fmt.Sprint(s.Port), "-U", s.Username, "-d", database}
	for _, command := range commands {
		args = append(args, "-c", command)
	}
	cmd := exec.CommandContext(ctx, s.Program("psql"), args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+s.Password)
	cmd.Stderr = &bytes.Buffer{}
	return cmd
}

// A declaration is what it takes to create a table like one of the source, whose names need no
// quotes in SQL.
type declaration struct {
	columns string // as in CREATE TABLE
	names   []string
	key     string
}

// definition reads the definition that the engine gives to its copy of a table, without the system
// columns and, apart from the key, without constraints.
func (b *bench) definition(ctx context.Context, name string) (d declaration, err error) {
	rows, _ := b.source.conn.Query(ctx, `
		SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = ANY (i.indkey), false)
		FROM pg_attribute AS a
		LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
		WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attnum`, name)
	var columns, key []string
	var column, sqlType string
	var inKey bool
	_, err = pgx.ForEachRow(rows, []any{&column, &sqlType, &inKey}, func() error {
		d.names = append(d.names, column)
		if inKey {
			key = append(key, column)
			sqlType += " NOT NULL"
		}
		columns = append(columns, column+" "+sqlType)
		return nil
	})
	d.columns, d.key = strings.Join(columns, ", "), strings.Join(key, ", ")
	return d, err
}
