package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A LoadedTable is a table of the destination that a replication fills, and what it is filled
// from. Its bookmark belongs to exactly these two tables.
type LoadedTable struct {
	Replication  int64
	TableName    string // in the destination
	SourceTable  string // as the definition writes it
	Status       string // Copying or Ready
	TableVersion int64
	Columns      []string // that come from the source, now or earlier
	Attributes   []int    // of Columns at the source: their attribute numbers, 0 if they are gone

	Source           string            // identifies the source database
	SourceOID        uint32            // of the table at the source
	SourceColumns    int               // greatest attribute number at the source
	SourcePartitions map[uint32]string // tables that hold its rows at the source, by oid, and how each was attached
	Position         Position
	Meaning          map[string]string // what decides how stored values read

	// What the last commit left in the destination.
	OID, File uint32 // the table, and where its rows are stored (relfilenode)
	Rows      *int64 // nil if it is not known
	Sequence  *int64 // greatest _sdc_sequence, nil if there is none or it is not known
}

// The statuses of a loaded table.
const (
	Copying = "copying" // chunks of a first load were committed, and others are still to come
	Ready   = "ready"   // the table was whole once
)

// A Position says where the history of a source was when a table was read.
type Position struct {
	// LSN is how far the WAL had been written or, on a standby, replayed; 0 if it is not known.
	LSN uint64 `json:"lsn,omitempty"`
	// Timeline is that of the WAL, 0 if it is not known.
	Timeline int `json:"timeline,omitempty"`
	// History is how the timeline came about, "" if it may not be read.
	History string `json:"history,omitempty"`
	// Transaction is the first one that had not begun.
	Transaction uint64 `json:"transaction,omitempty"`
	// Started is when the server was started.
	Started string `json:"started,omitempty"`
	// Rows are some of those that were read, with the greatest keys.
	Rows []RememberedRow `json:"rows,omitempty"`
	// Commits are earlier positions, oldest first.
	Commits []Commit `json:"commits,omitempty"`
}

// A Commit is one that has loaded what the source was at an LSN: the source had the rows
// whose _sdc_sequence is no greater than the commit's.
type Commit struct {
	LSN      uint64 `json:"lsn"`
	Sequence int64  `json:"sequence"`
}

// A RememberedRow is a row of the source that was read, with where it was and which
// transaction wrote it.
type RememberedRow struct {
	Table       uint32 `json:"part"`  // the table that holds it, by oid
	File        uint32 `json:"file"`  // where the rows of that table were stored (relfilenode)
	Place       string `json:"place"` // within it (ctid)
	Transaction uint64 `json:"transaction"`
}

// A Growth says what a commit has done to the rows of a loaded table.
type Growth struct {
	Rows     int64  // by how many the number of rows grew
	Changed  bool   // whether some rows were inserted or changed, and so have the _sdc_sequence of the commit
	Total    *int64 // the number of rows, if it is known otherwise than by Rows
	Sequence *int64 // the greatest _sdc_sequence, if it is known otherwise than by Changed
}

// QueueLoadedTableOf reads, by a batch, what the catalog holds of a loaded table. into stays
// nil for a table that has never been loaded.
func QueueLoadedTableOf(batch *pgx.Batch, replication int64, tableName string, into **LoadedTable) {
	batch.Queue(`
		SELECT source_table, status, table_version, columns, attributes, source, source_oid, source_columns, source_parts,
			source_position, source_meaning, oid, relfilenode, row_count, last_sequence
		FROM _stitch.loaded_table
		WHERE replication = $1 AND table_name = $2`, replication, tableName).QueryRow(func(row pgx.Row) error {
		t := LoadedTable{Replication: replication, TableName: tableName}
		err := row.Scan(&t.SourceTable, &t.Status, &t.TableVersion, &t.Columns, &t.Attributes, &t.Source, &t.SourceOID, &t.SourceColumns, &t.SourcePartitions,
			&t.Position, &t.Meaning, &t.OID, &t.File, &t.Rows, &t.Sequence)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what was loaded into %q: %w", tableName, err)
		}
		if len(t.Columns) != len(t.Attributes) {
			return fmt.Errorf("read what was loaded into %q: it has %d columns and %d attribute numbers", tableName, len(t.Columns), len(t.Attributes))
		}
		*into = &t
		return nil
	})
}

// errNoTable says that a loaded table does not exist.
var errNoTable = errors.New("the table does not exist")

// QueueLoadedTable writes, by a batch, what is known of a loaded table, whose name in SQL is
// sql. Send it in the transaction that loads the rows: it reads there which table that is and
// where it is stored, and adds the growth of its rows to what earlier commits have left.
func QueueLoadedTable(batch *pgx.Batch, t LoadedTable, sql string, g Growth) {
	queue(batch, fmt.Sprintf("record what was loaded into %q", t.TableName), errNoTable, `
		INSERT INTO _stitch.loaded_table AS t
			(replication, table_name, source_table, status, table_version, columns, attributes, source, source_oid, source_columns, source_parts,
			 source_position, source_meaning, oid, relfilenode, row_count, last_sequence)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, c.oid, c.relfilenode, $14,
			CASE WHEN $16 THEN (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint * 1000 ELSE $15 END
		FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass($18)
		ON CONFLICT (replication, table_name) DO UPDATE SET
			source_table = excluded.source_table,
			status = excluded.status,
			table_version = excluded.table_version,
			columns = excluded.columns,
			attributes = excluded.attributes,
			source = excluded.source,
			source_oid = excluded.source_oid,
			source_columns = excluded.source_columns,
			source_parts = excluded.source_parts,
			source_position = excluded.source_position,
			source_meaning = excluded.source_meaning,
			oid = excluded.oid,
			relfilenode = excluded.relfilenode,
			row_count = coalesce(excluded.row_count, t.row_count + $17),
			last_sequence = coalesce(excluded.last_sequence, t.last_sequence),
			updated_at = pg_catalog.now()`,
		t.Replication, t.TableName, t.SourceTable, t.Status, t.TableVersion, t.Columns, t.Attributes, t.Source, t.SourceOID, t.SourceColumns, t.SourcePartitions,
		t.Position, t.Meaning, g.Total, g.Sequence, g.Changed, g.Rows, sql)
}

// QueueStorage records, by a batch, where a loaded table is stored, whose name in SQL is sql.
// Send it in the transaction that changes the structure of the table.
func QueueStorage(batch *pgx.Batch, replication int64, tableName, sql string) {
	queue(batch, fmt.Sprintf("record where %q is stored", tableName), nil, `
		UPDATE _stitch.loaded_table AS t
		SET relfilenode = c.relfilenode
		FROM pg_catalog.pg_class AS c
		WHERE t.replication = $1 AND t.table_name = $2 AND c.oid = t.oid AND c.oid = pg_catalog.to_regclass($3)`, replication, tableName, sql)
}

// LoadedTables returns the names of the tables that the replication has loaded.
func LoadedTables(ctx context.Context, tx pgx.Tx, replication int64) ([]string, error) {
	return loadedTables(ctx, tx, `
		SELECT table_name
		FROM _stitch.loaded_table
		WHERE replication = $1
		ORDER BY table_name`, replication)
}

// ReadyTables is LoadedTables for those that have been whole.
func ReadyTables(ctx context.Context, tx pgx.Tx, replication int64) ([]string, error) {
	return loadedTables(ctx, tx, `
		SELECT table_name
		FROM _stitch.loaded_table
		WHERE replication = $1 AND status = 'ready'
		ORDER BY table_name`, replication)
}

// LoadedFrom returns, by the name of each table that the replication has loaded, the database
// that the table was loaded from.
func LoadedFrom(ctx context.Context, tx pgx.Tx, replication int64) (map[string]string, error) {
	rows, _ := tx.Query(ctx, "SELECT table_name, source FROM _stitch.loaded_table WHERE replication = $1", replication)
	sources := map[string]string{}
	var name, source string
	_, err := pgx.ForEachRow(rows, []any{&name, &source}, func() error {
		sources[name] = source
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the sources of the loaded tables: %w", err)
	}
	return sources, nil
}

func loadedTables(ctx context.Context, tx pgx.Tx, sql string, replication int64) ([]string, error) {
	rows, _ := tx.Query(ctx, sql, replication)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the loaded tables: %w", err)
	}
	return names, nil
}
