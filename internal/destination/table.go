package destination

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A TargetState is what the destination holds of a table before a load.
type TargetState struct {
	Table    *relation.Table // nil if the table does not exist
	Place    Placement
	Loaded   *catalog.LoadedTable // nil if it was never loaded
	Bookmark *catalog.Bookmark    // nil if there is none
	InViews  []string             // columns of the table that views use
	Equals   map[string]string    // for each column of the primary key, the operator that its index compares with
	Types    relation.TypeSet
	Major    int       // of the server
	Now      time.Time // by the destination's clock
}

// readTarget reads what the destination, which has the types, holds of a table that the
// transaction has locked. It takes one round trip. It refuses a table that would run code of
// other roles.
func readTarget(ctx context.Context, tx pgx.Tx, replication int64, target relation.TableName, types relation.TypeSet) (TargetState, error) {
	k := TargetState{Types: types, Major: pgclient.Version(tx.Conn()), Equals: map[string]string{}}
	var tables map[relation.TableName]relation.Table
	var harmless bool
	var empty *bool
	err := pgclient.Send(ctx, tx, fmt.Sprintf("read the state of %s in the destination", target), func(batch *pgx.Batch) {
		relation.QueueTablesWithoutTypes(batch, []relation.TableName{target}, &tables)
		batch.Queue(inViewsSQL, target.SQL()).Query(func(rows pgx.Rows) (err error) {
			k.InViews, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		batch.Queue(equalsSQL, target.SQL()).Query(func(rows pgx.Rows) error {
			var column, operator string
			_, err := pgx.ForEachRow(rows, []any{&column, &operator}, func() error {
				k.Equals[column] = operator
				return nil
			})
			return err
		})
		catalog.QueueLoadedTableOf(batch, replication, target.Name, &k.Loaded)
		catalog.QueueBookmarkOf(batch, replication, target.Name, &k.Bookmark)
		queuePlace(batch, target, &harmless, &k.Place, &empty)
		batch.Queue("SELECT pg_catalog.now()").QueryRow(func(row pgx.Row) error { return row.Scan(&k.Now) })
	})
	if err == nil {
		err = refuseCode(ctx, tx, target, harmless)
	}
	if err != nil {
		return TargetState{}, err
	}
	if table, ok := tables[target]; ok {
		k.Table = &table
	}
	k.Place, err = k.inspect(ctx, tx, target, empty)
	return k, err
}

// equalsSQL lists the operators by which the primary key of a table tells rows apart: those
// of its operator classes, which only superusers can create.
const equalsSQL = `
	SELECT a.attname, pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
	FROM pg_catalog.pg_index AS i
	CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(i.indkey::pg_catalog.int2[]), pg_catalog.unnest(i.indclass::pg_catalog.oid[])) AS k (attnum, class)
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	JOIN pg_catalog.pg_opclass AS c ON c.oid = k.class
	JOIN pg_catalog.pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
		AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
	JOIN pg_catalog.pg_operator AS o ON o.oid = m.amopopr
	JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
	WHERE i.indrelid = pg_catalog.to_regclass($1) AND i.indisprimary
	ORDER BY a.attname`

// inViewsSQL lists the columns of a table that views and rules use.
const inViewsSQL = `
	SELECT DISTINCT a.attname
	FROM pg_catalog.pg_depend AS d
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
	WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
		AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
		AND d.refobjid = pg_catalog.to_regclass($1)
	ORDER BY a.attname`
