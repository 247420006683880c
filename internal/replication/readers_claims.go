package replication

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A grantTx is a transaction that changes what readers may do, as the other resources of the
// provider block see it. It does not revoke from a former reader what they grant to the same
// role, and they do not revoke what it grants to a reader.
type grantTx struct {
	destination pgclient.Endpoint
	tables      []string // that runs are going to load
	locked      bool     // see lockRights
	undo        []func() // what was claimed
}

// inGrantTx is onCatalog for such a transaction, while no other transaction of this process
// changes privileges in the database. If it fails, it undoes the claims that it made.
func inGrantTx(ctx context.Context, destination pgclient.Endpoint, open func(context.Context, pgx.Tx) error, f func(pgx.Tx, *grantTx) error) error {
	g := &grantTx{destination: destination}
	err := privilege.Serialize(ctx, destination.Server, destination.Database, func() error {
		return onCatalog(ctx, destination, open, func(tx pgx.Tx) error { return f(tx, g) })
	})
	if err != nil {
		for _, undo := range g.undo {
			undo()
		}
	}
	return err
}

// lockRights must be called before the transaction reads who was granted what. Afterwards the
// transaction has a lock_timeout.
func (g *grantTx) lockRights(ctx context.Context, tx pgx.Tx) error {
	if g == nil || g.locked {
		return nil
	}
	g.locked = true
	return privilege.LockRights(ctx, g.destination.Server, tx, g.destination.Database)
}

// reading is what a replication grants, as other resources know it.
func (c readersChange) reading(tables []string) privilege.Reading {
	return privilege.Reading{Resource: "replication into " + c.schema, Schema: c.schema, Tables: tables}
}

// claim notes what the readers of a change may do.
func (g *grantTx) claim(ctx context.Context, tx pgx.Tx, c readersChange, loaded []string) error {
	undo, err := privilege.ClaimReading(ctx, g.destination.Server, tx, c.reading(slices.Concat(loaded, g.tables)), c.readers)
	if err == nil {
		g.undo = append(g.undo, undo)
	}
	return err
}

// revocable returns which of the privileges that former readers were given must be revoked. It
// leaves those that other resources grant as well.
func (g *grantTx) revocable(ctx context.Context, tx pgx.Tx, c readersChange, granted []readerRight) ([]readerRight, error) {
	kept, err := privilege.ReleaseReading(ctx, g.destination.Server, tx, c.reading(nil), c.removed)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(granted, func(r readerRight) bool {
		switch k := kept[r.Reader]; r.Kind {
		case "SCHEMA":
			return k.Usage()
		case "TABLE":
			return k.Table(r.Name)
		default:
			return k.Future()
		}
	}), nil
}

// A columnsRight is SELECT on some columns of a table, which a reader was granted apart from
// what a replication grants.
type columnsRight struct {
	Reader, Table string
	Columns       []string
	Grantable     bool
}

// columnsGrantedSQL lists what the roles $3 were granted on columns of the tables $2 by the
// role that revokes SELECT on these tables; see grantedSQL.
const columnsGrantedSQL = `
	SELECT r.rolname, c.relname, pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum), e.is_grantable
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
	CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS e
	JOIN pg_catalog.pg_roles AS r ON r.oid = e.grantee
	JOIN pg_catalog.pg_roles AS l ON l.rolname = current_user
	WHERE n.nspname = $1
	  AND c.relname::pg_catalog.text = ANY ($2::pg_catalog.text[])
	  AND r.rolname::pg_catalog.text = ANY ($3::pg_catalog.text[])
	  AND e.privilege_type = 'SELECT'
	  AND e.grantor = CASE WHEN pg_catalog.pg_has_role(c.relowner, 'USAGE') THEN c.relowner ELSE l.oid END
	GROUP BY 1, 2, 4
	ORDER BY 1, 2, 4`

// columnsGrantedTo returns the column privileges that PostgreSQL revokes together with SELECT
// on tables, and that must be granted again.
func columnsGrantedTo(ctx context.Context, tx pgx.Tx, schema string, revoked []readerRight) ([]columnsRight, error) {
	var tables, readers []string
	isRevoked := map[[2]string]bool{}
	for _, r := range revoked {
		if r.Kind == "TABLE" {
			tables, readers = append(tables, r.Name), append(readers, r.Reader)
			isRevoked[[2]string{r.Reader, r.Name}] = true
		}
	}
	if len(tables) == 0 {
		return nil, nil
	}
	rows, _ := tx.Query(ctx, columnsGrantedSQL, schema, tables, readers)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[columnsRight])
	if err != nil {
		return nil, fmt.Errorf("read which columns readers of schema %q were granted: %w", schema, err)
	}
	return slices.DeleteFunc(all, func(r columnsRight) bool { return !isRevoked[[2]string{r.Reader, r.Table}] }), nil
}

// statement grants it again.
func (r columnsRight) statement(schema string) string {
	columns := make([]string, len(r.Columns))
	for i, name := range r.Columns {
		columns[i] = pgclient.Ident(name)
	}
	sql := "GRANT SELECT (" + strings.Join(columns, ", ") + ") ON TABLE " + relation.TableName{Schema: schema, Name: r.Table}.SQL() + " TO " + pgclient.Ident(r.Reader)
	if r.Grantable {
		sql += " WITH GRANT OPTION"
	}
	return sql
}
