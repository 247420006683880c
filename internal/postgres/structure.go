package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Table is what a structure sync finds of a table, view, materialized view or
// foreign table.
type Table struct {
	Name    TableName
	OID     uint32
	Kind    RelationKind
	Owner   string
	Columns []Column // in the table's order
	Key     []string // the columns of the primary key, in its order
}

// Column returns the column called name.
func (t Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// A RelationKind is a relkind of pg_class.
type RelationKind string

// The kinds of relation that hold rows.
const (
	OrdinaryTable    RelationKind = "r"
	PartitionedTable RelationKind = "p"
	View             RelationKind = "v"
	MaterializedView RelationKind = "m"
	ForeignTable     RelationKind = "f"
)

// HasKeys reports whether relations of this kind can have a primary key.
func (k RelationKind) HasKeys() bool { return k == OrdinaryTable || k == PartitionedTable }

// A Column is a column of a Table.
type Column struct {
	Number  int16 // attnum, which a rename does not change
	Name    string
	SQL     string // its type as format_type writes it, qualified unless it is built in
	Type    Type
	NotNull bool
	// Missing is what rows hold that are older than the column, as the text of
	// a one-element array; nil if they hold null. PostgreSQL 11 and newer.
	Missing *string
}

// Tables reads the structure of the tables in names that exist in the database.
func (s *Server) Tables(ctx context.Context, database string, names []TableName) (map[TableName]Table, error) {
	var tables map[TableName]Table
	err := s.inTx(ctx, database, func(tx pgx.Tx) (err error) {
		tables, err = ReadTables(ctx, tx, names)
		return err
	})
	return tables, err
}

const relationsSQL = `
	SELECT n.nspname, coalesce(c.relname, '')
	FROM pg_catalog.pg_namespace AS n
	LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	WHERE n.nspname = ANY ($1::text[])
	ORDER BY n.nspname, c.relname
	LIMIT 1000`

// Relations returns the names of tables and views by schema, for those of the
// schemas that exist, and not more than a thousand of them.
func (s *Server) Relations(ctx context.Context, database string, schemas []string) (map[string][]string, error) {
	relations := map[string][]string{}
	err := s.inTx(ctx, database, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, relationsSQL, schemas)
		var schema, name string
		_, err := pgx.ForEachRow(rows, []any{&schema, &name}, func() error {
			relations[schema] = append(relations[schema], name)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables of %s: %w", strings.Join(schemas, ", "), err)
	}
	return relations, nil
}

// A Relation is what is known of a table or view without reading its structure.
type Relation struct {
	Kind  RelationKind
	Bytes int64 // that its rows take on disk, with those of its partitions
}

const sizesSQL = `
	WITH RECURSIVE part AS (
		SELECT n.nspname, c.relname, c.relkind AS kind, c.oid, c.relkind
		FROM unnest($1::text[], $2::text[]) AS wanted (nspname, relname)
		JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.nspname
		JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
		UNION
		SELECT part.nspname, part.relname, part.kind, c.oid, c.relkind
		FROM part
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
	)
	SELECT nspname, relname, kind::text, coalesce(sum(pg_catalog.pg_table_size(oid)) FILTER (WHERE relkind IN ('r', 'm')), 0)::bigint
	FROM part
	GROUP BY nspname, relname, kind
	ORDER BY nspname, relname`

// ReadRelations returns those of the named tables and views that exist.
func ReadRelations(ctx context.Context, tx pgx.Tx, names []TableName) (map[TableName]Relation, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		schemas[i], tables[i] = name.Schema, name.Name
	}
	found := map[TableName]Relation{}
	rows, _ := tx.Query(ctx, sizesSQL, schemas, tables)
	var name TableName
	var relation Relation
	_, err := pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &relation.Kind, &relation.Bytes}, func() error {
		found[name] = relation
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which tables there are: %w", err)
	}
	return found, nil
}

const columnsSQL = `
	SELECT n.nspname, c.relname, c.oid, c.relkind::text, pg_catalog.pg_get_userbyid(c.relowner),
		a.attnum, a.attname, a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
		coalesce(pg_catalog.array_position(k.conkey, a.attnum), 0)
	FROM unnest($1::text[], $2::text[]) AS wanted (nspname, relname)
	JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.nspname
	JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname
	LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
	ORDER BY n.nspname, c.relname, a.attnum`

// missingSQL writes all arrays of one element as those of text are written: not
// all types put a comma between elements, and quote one that is within.
const missingSQL = `
	SELECT a.attrelid, a.attnum, CASE WHEN t.typdelim = ',' OR m.text LIKE '{"%' THEN m.text
		ELSE ARRAY[substr(m.text, 2, length(m.text) - 2)]::text END
	FROM pg_catalog.pg_attribute AS a
	JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
	CROSS JOIN LATERAL (SELECT a.attmissingval::text) AS m (text)
	WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.atthasmissing AND NOT a.attisdropped
	ORDER BY a.attrelid, a.attnum`

// columnRow is a row of columnsSQL. The columns are null for a table without any.
type columnRow struct {
	table  Table
	column struct {
		number  *int16
		name    *string
		typeOID *uint32
		sql     *string
		notNull *bool
	}
	keyPosition int
}

// ReadTables is Tables within the caller's transaction, and so in its snapshot.
func ReadTables(ctx context.Context, tx pgx.Tx, names []TableName) (map[TableName]Table, error) {
	return inNoSchema(ctx, tx, names, readTables)
}

// ReadTablesWithoutTypes is ReadTables for those who only want to know what the
// columns' types are called: Type and Missing are not set.
func ReadTablesWithoutTypes(ctx context.Context, tx pgx.Tx, names []TableName) (map[TableName]Table, error) {
	return inNoSchema(ctx, tx, names, func(ctx context.Context, tx pgx.Tx, names []TableName) (map[TableName]Table, error) {
		found, err := readColumns(ctx, tx, names)
		return assemble(found, nil, nil), err
	})
}

type reading func(context.Context, pgx.Tx, []TableName) (map[TableName]Table, error)

func inNoSchema(ctx context.Context, tx pgx.Tx, names []TableName, read reading) (map[TableName]Table, error) {
	// Types are to be written qualified, whatever the login's search_path is.
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('search_path', '', true)"); err != nil {
		return nil, fmt.Errorf("read structure: %w", err)
	}
	tables, err := read(ctx, tx, names)
	if err != nil {
		return nil, fmt.Errorf("read structure: %w", err)
	}
	if _, err := tx.Exec(ctx, "SET LOCAL search_path TO DEFAULT"); err != nil {
		return nil, fmt.Errorf("read structure: %w", err)
	}
	return tables, nil
}

func readColumns(ctx context.Context, tx pgx.Tx, names []TableName) ([]columnRow, error) {
	schemas, relations := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		schemas[i], relations[i] = name.Schema, name.Name
	}
	rows, _ := tx.Query(ctx, columnsSQL, schemas, relations)
	return pgx.CollectRows(rows, scanColumn)
}

func readTables(ctx context.Context, tx pgx.Tx, names []TableName) (map[TableName]Table, error) {
	found, err := readColumns(ctx, tx, names)
	if err != nil {
		return nil, err
	}
	var typeOIDs, tableOIDs []uint32
	for _, row := range found {
		if row.column.typeOID != nil {
			typeOIDs = append(typeOIDs, *row.column.typeOID)
		}
		tableOIDs = append(tableOIDs, row.table.OID)
	}
	types, err := readTypes(ctx, tx, typeOIDs)
	if err != nil {
		return nil, err
	}
	missing, err := readMissing(ctx, tx, tableOIDs)
	if err != nil {
		return nil, err
	}
	return assemble(found, types, missing), nil
}

func scanColumn(row pgx.CollectableRow) (c columnRow, err error) {
	t := &c.table
	err = row.Scan(&t.Name.Schema, &t.Name.Name, &t.OID, &t.Kind, &t.Owner,
		&c.column.number, &c.column.name, &c.column.typeOID, &c.column.sql, &c.column.notNull, &c.keyPosition)
	return c, err
}

// An attribute identifies a column within a database.
type attribute struct {
	table  uint32
	number int16
}

// readMissing returns what old rows hold in columns that were added with a default.
func readMissing(ctx context.Context, tx pgx.Tx, tables []uint32) (map[attribute]string, error) {
	missing := map[attribute]string{}
	if Version(tx.Conn()) < 11 {
		return missing, nil
	}
	rows, _ := tx.Query(ctx, missingSQL, tables)
	var at attribute
	var text string
	_, err := pgx.ForEachRow(rows, []any{&at.table, &at.number, &text}, func() error {
		missing[at] = text
		return nil
	})
	return missing, err
}

// assemble makes tables of rows that are sorted by table and column.
func assemble(rows []columnRow, types map[uint32]Type, missing map[attribute]string) map[TableName]Table {
	tables := map[TableName]Table{}
	keys := map[TableName]map[int]string{}
	for _, row := range rows {
		name := row.table.Name
		table, ok := tables[name]
		if !ok {
			table = row.table
			keys[name] = map[int]string{}
		}
		if c := row.column; c.number != nil {
			column := Column{
				Number: *c.number, Name: *c.name, SQL: *c.sql, Type: types[*c.typeOID], NotNull: *c.notNull,
			}
			if text, ok := missing[attribute{table.OID, *c.number}]; ok {
				column.Missing = &text
			}
			table.Columns = append(table.Columns, column)
			if row.keyPosition > 0 {
				keys[name][row.keyPosition] = *c.name
			}
		}
		tables[name] = table
	}
	for name, table := range tables {
		for i := 1; i <= len(keys[name]); i++ {
			table.Key = append(table.Key, keys[name][i])
		}
		tables[name] = table
	}
	return tables
}
