package relation

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A Table is what a structure sync reads about a table, view, materialized view or foreign
// table.
type Table struct {
	Name    TableName
	OID     uint32
	Kind    RelationKind
	Owner   string
	Columns []Column // in the table's order
	Key     []string // the columns of the primary key, in its order
	// Unpopulated reports whether it is a materialized view that cannot be read yet.
	Unpopulated bool
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
	Number  int16  // attnum, which a rename does not change
	Name    string // valid UTF-8, unless the database has the encoding SQL_ASCII
	SQL     string // its type as format_type writes it, qualified unless it is built in
	Type    Type
	NotNull bool // holds for all rows: also for rows from before the constraint, and for those of tables that inherit from this one
	// ForeignCollation reports whether the values are ordered by a collation that is not
	// PostgreSQL's own.
	ForeignCollation bool
	// Collation is a collation that treats different texts as equal, as SQL; otherwise "".
	Collation string
	// Missing is the value in rows that are older than the column, as the text of a one-element
	// array. It is nil if they hold null, or XML, whose declaration such a text lacks.
	// PostgreSQL 11 and newer.
	Missing *string
}

// Read reads the structure of the tables in names that exist in the database.
func Read(ctx context.Context, s *pgclient.Server, database string, names []TableName) (map[TableName]Table, error) {
	var tables map[TableName]Table
	err := s.InTx(ctx, database, func(tx pgx.Tx) (err error) {
		tables, err = ReadTables(ctx, tx, names)
		return err
	})
	return tables, err
}

const relationsSQL = `
	SELECT n.nspname, pg_catalog.convert_to(coalesce(c.relname::pg_catalog.text, ''), ` + NameEncodingSQL + `)
	FROM pg_catalog.pg_namespace AS n
	LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	WHERE n.nspname = ANY ($1::pg_catalog.text[])
	ORDER BY n.nspname, c.relname
	LIMIT 1000`

// List returns the names of tables and views by schema, for those of the schemas that exist, and
// at most a thousand names.
func List(ctx context.Context, s *pgclient.Server, database string, schemas []string) (map[string][]string, error) {
	var relations map[string][]string
	err := s.InTx(ctx, database, func(tx pgx.Tx) error {
		relations = map[string][]string{}
		rows, _ := tx.Query(ctx, relationsSQL, schemas)
		var schema string
		var name []byte
		_, err := pgx.ForEachRow(rows, []any{&schema, &name}, func() error {
			relations[schema] = append(relations[schema], strings.ToValidUTF8(string(name), "?"))
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables of %s: %w", strings.Join(schemas, ", "), err)
	}
	return relations, nil
}

// A Relation is what is known about a table or view without reading its structure.
type Relation struct {
	Kind  RelationKind
	Bytes int64 // that its rows take on disk, including those of its partitions
	Rows  int64 // about how many, according to the last VACUUM or ANALYZE
}

const sizesSQL = `
	WITH RECURSIVE part AS (
		SELECT n.nspname, c.relname, c.relkind AS kind, c.oid, c.relkind, c.relpages, c.reltuples
		FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (nspname, relname)
		JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.nspname
		JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
		UNION
		SELECT part.nspname, part.relname, part.kind, c.oid, c.relkind, c.relpages, c.reltuples
		FROM part
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
	)
	SELECT nspname, relname, kind::pg_catalog.text, coalesce(pg_catalog.sum(
		CASE WHEN $3 THEN pg_catalog.pg_table_size(oid) ELSE relpages * pg_catalog.current_setting('block_size')::bigint END
	) FILTER (WHERE relkind IN ('r', 'm')), 0)::bigint,
		coalesce(pg_catalog.sum(reltuples) FILTER (WHERE relkind IN ('r', 'm') AND reltuples > 0), 0)::bigint
	FROM part
	GROUP BY nspname, relname, kind
	ORDER BY nspname, relname`

// ReadRelations returns those of the named tables and views that exist. Reading the exact size
// of a table takes a lock, which the server may not grant in time (55P03). Otherwise sizes are
// those from the last VACUUM or ANALYZE.
func ReadRelations(ctx context.Context, tx pgx.Tx, names []TableName, exactly bool) (map[TableName]Relation, error) {
	schemas, tables := splitNames(names)
	found := map[TableName]Relation{}
	rows, _ := tx.Query(ctx, sizesSQL, schemas, tables, exactly)
	var name TableName
	var relation Relation
	_, err := pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &relation.Kind, &relation.Bytes, &relation.Rows}, func() error {
		found[name] = relation
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which tables there are: %w", err)
	}
	return found, nil
}

// namedSQL selects the oids of the relations named by two arrays, $1 and $2.
const namedSQL = `
		SELECT c.oid
		FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (nspname, relname)
		JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.nspname
		JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')`

// NameEncodingSQL is the encoding in which names are read as bytes: unchanged if any bytes may
// be a name, because PostgreSQL would refuse to convert them.
const NameEncodingSQL = `CASE WHEN pg_catalog.current_setting('server_encoding') = 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END`

const columnsSQL = `
	SELECT n.nspname, c.relname, c.oid, c.relkind::pg_catalog.text, NOT c.relispopulated, pg_catalog.pg_get_userbyid(c.relowner),
		a.attnum, pg_catalog.convert_to(a.attname::pg_catalog.text, ` + NameEncodingSQL + `), a.atttypid, pg_catalog.format_type(a.atttypid, a.atttypmod),
		a.attnotnull AND NOT EXISTS (
			SELECT FROM pg_catalog.pg_constraint AS v
			WHERE v.conrelid = c.oid AND v.contype = 'n' AND NOT v.convalidated AND v.conkey = ARRAY[a.attnum])
			AND NOT (c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid)),
		coalesce(pg_catalog.array_position(k.conkey, a.attnum), 0), l.collnamespace IS NOT NULL AND l.collnamespace <> 'pg_catalog'::pg_catalog.regnamespace,
		CASE WHEN l.collprovider = 'i' AND (pg_catalog.to_jsonb(l) ->> 'collisdeterministic')::boolean = false THEN pg_catalog.format('%I.%I', s.nspname, l.collname) ELSE '' END
	FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (nspname, relname)
	JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.nspname
	JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.relname
	LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
	LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
	LEFT JOIN pg_catalog.pg_namespace AS s ON s.oid = l.collnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
	ORDER BY n.nspname, c.relname, a.attnum`

// missingSQL writes all arrays of one element as it writes arrays of text: some types do not
// separate elements by a comma, or do not quote an element that contains one.
const missingSQL = `
	SELECT a.attrelid, a.attnum, CASE WHEN t.typdelim = ',' OR m.text LIKE '{"%' THEN m.text
		ELSE ARRAY[pg_catalog.substr(m.text, 2, pg_catalog.length(m.text) - 2)]::pg_catalog.text END
	FROM pg_catalog.pg_attribute AS a
	JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
	CROSS JOIN LATERAL (SELECT a.attmissingval::pg_catalog.text) AS m (text)
	WHERE a.attrelid IN (` + namedSQL + `) AND a.atthasmissing AND NOT a.attisdropped
	ORDER BY a.attrelid, a.attnum`

// columnRow is a row of columnsSQL. The columns are null for a table that has none.
type columnRow struct {
	table  Table
	column struct {
		number  *int16
		name    []byte
		typeOID *uint32
		sql     *string
		notNull *bool
	}
	keyPosition      int
	foreignCollation bool
	collation        string
}

// ReadTables is Read within the caller's transaction, and so in its snapshot.
func ReadTables(ctx context.Context, tx pgx.Tx, names []TableName) (tables map[TableName]Table, err error) {
	err = pgclient.Send(ctx, tx, "read structure", func(batch *pgx.Batch) { QueueTables(batch, pgclient.Version(tx.Conn()), names, &tables) })
	return tables, err
}

// QueueTables makes ReadTables a part of a batch, which one round trip sends to a server of that
// major version, within a transaction. The search_path is pinned, so the types of all other
// schemas are written with their schema.
func QueueTables(batch *pgx.Batch, major int, names []TableName, into *map[TableName]Table) {
	var found []columnRow
	var types map[uint32]Type
	var missing map[attribute]string
	schemas, relations := splitNames(names)
	batch.Queue(columnsSQL, schemas, relations).Query(func(rows pgx.Rows) (err error) { found, err = pgx.CollectRows(rows, scanColumn); return err })
	if major >= 11 {
		batch.Queue(missingSQL, schemas, relations).Query(func(rows pgx.Rows) (err error) { missing, err = scanMissing(rows); return err })
	}
	batch.Queue(typesSQL, schemas, relations).Query(func(rows pgx.Rows) (err error) {
		types, err = scanTypes(rows)
		*into = assemble(found, types, missing)
		return err
	})
}

// QueueTablesWithoutTypes is QueueTables for callers that only need the names of the columns'
// types: Type and Missing are not set.
func QueueTablesWithoutTypes(batch *pgx.Batch, names []TableName, into *map[TableName]Table) {
	schemas, relations := splitNames(names)
	batch.Queue(columnsSQL, schemas, relations).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, scanColumn)
		*into = assemble(found, nil, nil)
		return err
	})
}

// splitNames returns the schemas and the names of tables, as two arrays for SQL.
func splitNames(names []TableName) (schemas, tables []string) {
	schemas, tables = make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		schemas[i], tables[i] = name.Schema, name.Name
	}
	return schemas, tables
}

func scanColumn(row pgx.CollectableRow) (c columnRow, err error) {
	t := &c.table
	at := &c.column
	err = row.Scan(&t.Name.Schema, &t.Name.Name, &t.OID, &t.Kind, &t.Unpopulated, &t.Owner, &at.number, &at.name, &at.typeOID, &at.sql, &at.notNull, &c.keyPosition, &c.foreignCollation, &c.collation)
	if err == nil && at.number != nil && (at.name == nil || at.typeOID == nil || at.sql == nil || at.notNull == nil) {
		err = fmt.Errorf("the server says only a part of column %d of %s", *at.number, t.Name)
	}
	return c, err
}

// An attribute identifies a column within a database.
type attribute struct {
	table  uint32
	number int16
}

// scanMissing reads the values in old rows of columns that were added with a default.
func scanMissing(rows pgx.Rows) (map[attribute]string, error) {
	missing := map[attribute]string{}
	var at attribute
	var text string
	_, err := pgx.ForEachRow(rows, []any{&at.table, &at.number, &text}, func() error {
		missing[at] = text
		return nil
	})
	return missing, err
}

// assemble builds tables from rows that are sorted by table and column.
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
				Number: *c.number, Name: string(c.name), SQL: *c.sql, Type: types[*c.typeOID], NotNull: *c.notNull, ForeignCollation: row.foreignCollation, Collation: row.collation,
			}
			if text, ok := missing[attribute{table.OID, *c.number}]; ok && !column.Type.Holds("xml") {
				column.Missing = &text
			}
			table.Columns = append(table.Columns, column)
			if row.keyPosition > 0 {
				keys[name][row.keyPosition] = string(c.name)
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
