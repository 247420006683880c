package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Rows are the rows of a table in a database.
type Rows struct {
	Server   *Server
	Database string
	Table    string   // as SQL writes it
	Columns  []string // raw names
}

func (r Rows) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, r.Server.URL(r.Database))
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; "+
		"SET extra_float_digits = 3; SET bytea_output = 'hex'")
	if err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// selectSQL selects each row as one text: the text of a record of its columns' texts.
func (r Rows) selectSQL() string {
	texts := make([]string, len(r.Columns))
	for i, name := range r.Columns {
		texts[i] = pgx.Identifier{name}.Sanitize() + "::text"
	}
	return fmt.Sprintf("SELECT ROW(%s)::text FROM %s", strings.Join(texts, ", "), r.Table)
}

// Differences returns the rows that a has more often than b, marked "-", and those that b has more
// often than a, marked "+": EXCEPT ALL both ways over every column's text, computed by b's server.
// It returns at most limit of each.
func Differences(ctx context.Context, a, b Rows, limit int) ([]string, error) {
	from, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close(ctx) }()
	to, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = to.Close(ctx) }()

	if _, err := to.Exec(ctx, "CREATE TEMP TABLE other (line text)"); err != nil {
		return nil, err
	}
	if err := copyLines(ctx, from, a.selectSQL(), to); err != nil {
		return nil, err
	}
	rows, _ := to.Query(ctx, fmt.Sprintf(`
		(SELECT '-' || line FROM (SELECT line FROM other EXCEPT ALL (%[1]s)) AS x (line) LIMIT %[2]d)
		UNION ALL
		(SELECT '+' || line FROM ((%[1]s) EXCEPT ALL SELECT line FROM other) AS x (line) LIMIT %[2]d)`,
		b.selectSQL(), limit))
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func copyLines(ctx context.Context, from *pgx.Conn, query string, to *pgx.Conn) error {
	reader, writer := io.Pipe()
	go func() {
		buffer := bufio.NewWriterSize(writer, 64<<10)
		_, err := from.PgConn().CopyTo(ctx, buffer, "COPY ("+query+") TO STDOUT")
		if err == nil {
			err = buffer.Flush()
		}
		_ = writer.CloseWithError(err)
	}()
	_, err := to.PgConn().CopyFrom(ctx, reader, "COPY other FROM STDIN")
	_ = reader.CloseWithError(err)
	return err
}
