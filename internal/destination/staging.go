package destination

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// sessionStaging is where rows wait for the merge into a table that exists. It lives in the
// session and ends with the transaction.
const sessionStaging = "pg_temp.stitch_stage"

// sessionStagingSQL creates that table with the types of the target's columns.
func (l Layout) sessionStagingSQL() string {
	return fmt.Sprintf("CREATE TEMP TABLE stitch_stage ON COMMIT DROP AS SELECT %s FROM %s WITH NO DATA",
		session.List(l.Names(), "?"), l.target.SQL())
}

// sharedStagingSQL creates a staging table that several sessions fill.
func (l Layout) sharedStagingSQL(name string) string {
	return fmt.Sprintf("CREATE UNLOGGED TABLE %s AS SELECT %s FROM %s WITH NO DATA", name, session.List(l.Names(), "?"), l.target.SQL())
}

// StagingPrefix begins the names of staging tables that several workers fill.
const StagingPrefix = definition.ReservedPrefix + "_loading_"

// StagingTable names the table into which an attempt at a unit copies its ranges.
func StagingTable(schema string, unit int64, attempt int) relation.TableName {
	return relation.TableName{Schema: schema, Name: fmt.Sprintf("%s%d_%d", StagingPrefix, unit, attempt)}
}

// CreateStaging creates a staging table that several workers fill. It becomes the target if
// that does not exist.
func (l Layout) CreateStaging(ctx context.Context, tx pgx.Tx, staging relation.TableName) error {
	sql := l.createSQL(staging.SQL())
	if l.Exists {
		sql = l.sharedStagingSQL(staging.SQL())
	}
	if _, err := tx.Exec(ctx, sql); err != nil {
		return fmt.Errorf("create %s: %w", staging, err)
	}
	return nil
}

// LoadStaging makes a filled staging table the target, or merges it.
func (ld Loading) LoadStaging(ctx context.Context, staging relation.TableName, rows int64) (LoadResult, error) {
	if err := lockLoaded(ctx, ld.Tx, staging); err != nil {
		return LoadResult{}, err
	}
	l := ld.Plan.Layout
	if l.Exists {
		return ld.merge(ctx, staging.SQL(), rows)
	}
	if err := ld.execExclusive(ctx, session.MaxLockWait, staging, "ALTER TABLE "+staging.SQL()+" RENAME TO "+pgclient.Ident(l.target.Name)); err != nil {
		return LoadResult{}, fmt.Errorf("rename the staging table: %w", err)
	}
	return ld.complete(ctx, rows)
}

// LockStaging is lockLoaded for a staging table. In the same round trip it reads which column
// of the source each column is for: the staging table names them as the table that is loaded
// does.
func LockStaging(ctx context.Context, tx pgx.Tx, staging relation.TableName, columns []Column) (Layout, error) {
	var harmless bool
	var tables map[relation.TableName]relation.Table
	err := pgclient.Send(ctx, tx, fmt.Sprintf("lock %s", staging), func(batch *pgx.Batch) {
		batch.Queue("LOCK TABLE ONLY " + staging.SQL() + " IN ROW EXCLUSIVE MODE")
		queueHarmless(batch, staging, &harmless)
		relation.QueueTablesWithoutTypes(batch, []relation.TableName{staging}, &tables)
	})
	if err == nil {
		err = refuseCode(ctx, tx, staging, harmless)
	}
	if err != nil {
		return Layout{}, err
	}
	l := Layout{target: staging}
	for _, into := range tables[staging].Columns {
		i := slices.IndexFunc(columns, func(c Column) bool { return c.Name == into.Name })
		if i < 0 {
			i = slices.IndexFunc(columns, func(c Column) bool { return splitName(c.Name, c.SQL) == into.Name })
		}
		if i < 0 {
			return Layout{}, fmt.Errorf("%s has a column %q that matches no column of the source", staging, into.Name)
		}
		c := columns[i]
		c.Name = into.Name
		if c.SQL != "text" && into.SQL == "text" && relation.Base(c.Source.Type).Extension != "" {
			c = c.asText()
		}
		l.Columns = append(l.Columns, c)
	}
	if len(l.Columns) != len(columns) {
		return Layout{}, fmt.Errorf("%s has %d columns, but %d columns of the source are replicated", staging, len(l.Columns), len(columns))
	}
	return l, nil
}

const stagingSQL = `
	SELECT c.relname
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
	WHERE n.nspname = $1 AND c.relkind = 'r' AND r.rolname = current_user AND pg_catalog.strpos(c.relname::pg_catalog.text, $2) = 1
	ORDER BY c.relname`

// DropOrphanedStaging drops the staging tables of killed runs of this login. It returns why
// it kept some: a lock, or a view on a table, which any role can create without a privilege
// on the table. As no two units have the same id, such a table blocks no run.
func DropOrphanedStaging(ctx context.Context, tx pgx.Tx, schema string) (kept []error, err error) {
	rows, _ := tx.Query(ctx, stagingSQL, schema, StagingPrefix)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the staging tables that earlier runs left in schema %q: %w", schema, err)
	}
	wait := "" // one turn is enough for all
	for _, name := range names {
		table := relation.TableName{Schema: schema, Name: name}
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf("%s; LOCK TABLE %[2]s IN ACCESS EXCLUSIVE MODE%s; DROP TABLE %[2]s", session.LockTimeoutSQL, table.SQL(), wait))
			return err
		})
		switch pgclient.Code(err) {
		case "":
			if err != nil {
				return nil, err
			}
			continue
		case pgclient.LockNotAvailable:
			wait = " NOWAIT"
		}
		kept = append(kept, fmt.Errorf("drop %s, which an earlier load left: %w", table, session.NameHolders(ctx, tx, table, true, err)))
	}
	return kept, nil
}
