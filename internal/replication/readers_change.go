package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A readersChange lets some roles read what a replication loads, and others no
// more.
//
// A load that changes a table's structure and a GRANT on that table must not meet:
// PostgreSQL fails the later one. So a change locks the tables whose rights it
// changes against changes of structure, and only then the definition. A load of a
// table that is new to the replication looks who its readers are at its end, with
// the definition held: whoever comes second sees what the first has done.
type readersChange struct {
	replication   int64
	schema        string
	readers, gone []string
	granting      *granting // of what else is granted in this apply; nil if nobody is gone, and nothing is claimed
}

// without returns the names that are not among others.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

func (c readersChange) isNothing() bool { return len(c.readers) == 0 && len(c.gone) == 0 }

func (c readersChange) plan(ctx context.Context, tx pgx.Tx) (p readersPlan, loaded []string, err error) {
	if err := c.granting.takeTurn(ctx, tx); err != nil {
		return readersPlan{}, nil, err
	}
	if loaded, err = catalog.LoadedTables(ctx, tx, c.replication); err != nil {
		return readersPlan{}, nil, err
	}
	lacked, err := readerRights(ctx, tx, readersLackSQL, c.schema, c.readers, loaded)
	if err != nil {
		return readersPlan{}, nil, err
	}
	given, err := givenTo(ctx, tx, c.schema, c.gone, loaded)
	if err != nil || len(given) == 0 {
		return decideReaders(c.schema, lacked, nil), loaded, err
	}
	if given, err = c.granting.leave(ctx, tx, c, given); err != nil {
		return readersPlan{}, nil, err
	}
	p = decideReaders(c.schema, lacked, given)
	p.columns, err = columnsGivenTo(ctx, tx, c.schema, given)
	return p, loaded, err
}

// lockTables locks the tables whose rights are to be changed, and returns their
// names. It waits for none of them, because a run might have to wait for those
// that are locked already: see patiently.
func (c readersChange) lockTables(ctx context.Context, tx pgx.Tx) ([]string, error) {
	if c.isNothing() {
		return nil, nil
	}
	p, loaded, err := c.plan(ctx, tx)
	if err == nil {
		err = p.refusal()
	}
	if err == nil {
		err = boundWaits(ctx, tx)
	}
	if err != nil {
		return nil, err
	}
	tables := p.tables(loaded)
	return tables, lockStructure(ctx, tx, c.schema, tables, " NOWAIT")
}

// lockStructure locks tables against changes of their structure, and nobody else out.
func lockStructure(ctx context.Context, tx pgx.Tx, schema string, tables []string, wait string) error {
	if len(tables) == 0 {
		return nil
	}
	names := make([]string, len(tables))
	for i, table := range tables {
		names[i] = postgres.TableName{Schema: schema, Name: table}.SQL()
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"+wait); err != nil {
		return &readersError{schema, err}
	}
	return nil
}

// apply changes rights, given the tables that are locked. The transaction has
// changed the definition, or has made it.
func (c readersChange) apply(ctx context.Context, tx pgx.Tx, locked []string) error {
	if c.isNothing() {
		return nil
	}
	for _, reader := range c.readers {
		if err := CheckReader(reader); err != nil {
			return err
		}
	}
	p, loaded, err := c.plan(ctx, tx)
	if err == nil {
		err = p.refusal()
	}
	if err != nil {
		return err
	}
	if len(without(p.tables(loaded), locked)) > 0 {
		return errMoreTables
	}
	if err := c.granting.claim(ctx, tx, c, loaded); err != nil {
		return err
	}
	return p.run(ctx, tx)
}

// boundWaits bounds how long the transaction waits for a lock.
func boundWaits(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, lockTurnSQL)
	return err
}

func (p readersPlan) run(ctx context.Context, tx pgx.Tx) error {
	if err := boundWaits(ctx, tx); err != nil {
		return err
	}
	for _, sql := range p.statements() {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return &readersError{p.schema, err}
		}
	}
	return nil
}

// revokeFromReaders takes back what a replication's readers were granted. The
// transaction has a lock_timeout.
func revokeFromReaders(ctx context.Context, tx pgx.Tx, g *granting, stored catalog.Replication) error {
	d, err := decode(stored)
	if err != nil || len(d.Readers) == 0 {
		return err
	}
	p, loaded, err := readersChange{replication: stored.ID, schema: stored.SchemaName, gone: d.Readers, granting: g}.plan(ctx, tx)
	if err != nil {
		return err
	}
	if err := lockStructure(ctx, tx, stored.SchemaName, p.tables(loaded), ""); err != nil {
		return err
	}
	return p.run(ctx, tx)
}

// errMoreTables is met when a load has come in between.
var errMoreTables = errors.New("more tables were loaded meanwhile")

const (
	readersPatience = time.Minute            // with what is in the way of a change of readers
	readersPause    = 100 * time.Millisecond // between attempts
)

// patiently is onCatalog that tries again while others, such as a run that gives a
// table another key, are in the way of a change of readers. It holds no lock meanwhile.
func patiently(ctx context.Context, destination postgres.Endpoint, schema string, open func(context.Context, pgx.Tx) error, f func(pgx.Tx, *granting) error) error {
	for deadline := time.Now().Add(readersPatience); ; {
		err := grantingOn(ctx, destination, open, f)
		switch {
		case err == nil || !isInterference(err):
			return err
		case time.Now().After(deadline):
			return destination.Server.NameHolders(ctx, destination.Database, schema, err)
		}
		if err := sleep(ctx, readersPause); err != nil {
			return err
		}
	}
}

// A readersError is why rights could not be changed.
type readersError struct {
	schema string
	err    error
}

func (e *readersError) Error() string {
	return fmt.Sprintf("change what readers of schema %q may do: %v", e.schema, e.err)
}

func (e *readersError) Unwrap() error { return e.err }

// isInterference reports whether a change of readers failed only because of what
// others did at the same time: those, too, who hold a lock that it wants.
func isInterference(err error) bool {
	var change *readersError
	if !errors.As(err, &change) {
		return errors.Is(err, errMoreTables)
	}
	return postgres.Code(err) == "55P03" || postgres.IsInterference(err)
}

// heldReaders returns the readers of a replication, as they are until the
// transaction ends.
func heldReaders(ctx context.Context, tx pgx.Tx, replication int64) (readers []string, err error) {
	text, err := catalog.HoldDefinition(ctx, tx, replication, "readers")
	if err != nil || text == nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &readers); err != nil {
		return nil, fmt.Errorf("read the readers of the definition: %w", err)
	}
	return readers, nil
}

// openSchema creates the schema unless it is there, and lets the readers in. Once
// tables were loaded into one that was there, changes of their rights are left to
// the next apply: somebody may have had a reason. What cannot be granted is no
// reason not to load.
func (w *worker) openSchema(ctx context.Context, tx pgx.Tx) error {
	readers, err := heldReaders(ctx, tx, w.replication)
	if err != nil {
		return err
	}
	schema := w.definition.SchemaName
	created, err := createSchema(ctx, tx, w.replication, schema)
	if err != nil || len(readers) == 0 {
		return err
	}
	p, loaded, err := readersChange{replication: w.replication, schema: schema, readers: readers}.plan(ctx, tx)
	if err != nil || !created && len(loaded) > 0 {
		return err
	}
	refusal := p.refusal()
	if err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return p.run(ctx, tx) }); err != nil {
		refusal = err
	}
	if refusal != nil {
		w.notes = append(w.notes, postgres.Explain(fmt.Errorf("not all readers may read what is loaded: %w", refusal)))
	}
	return nil
}

// newTableSQL compares who may read the table $1 with who is to: the readers $2,
// and those who may by default. The latter are as they were when it was created.
const newTableSQL = `
	WITH t AS (
		SELECT c.relowner, c.relnamespace, c.relacl
		FROM pg_catalog.pg_class AS c
		WHERE c.oid = $1::pg_catalog.text::pg_catalog.regclass
	), have AS (
		SELECT a.grantee
		FROM t
		CROSS JOIN LATERAL pg_catalog.aclexplode(t.relacl) AS a
		WHERE a.privilege_type = 'SELECT'
	), wanted AS (
		SELECT r.oid AS grantee
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[])
		UNION
		SELECT a.grantee
		FROM t
		JOIN pg_catalog.pg_default_acl AS d ON d.defaclrole = t.relowner AND d.defaclnamespace IN (0, t.relnamespace) AND d.defaclobjtype = 'r'
		CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
		WHERE a.privilege_type = 'SELECT'
	)
	SELECT r.rolname, w.grantee IS NOT NULL
	FROM have AS h
	FULL JOIN wanted AS w ON w.grantee = h.grantee
	JOIN pg_catalog.pg_roles AS r ON r.oid = coalesce(h.grantee, w.grantee)
	WHERE (h.grantee IS NULL OR w.grantee IS NULL) AND r.oid <> (SELECT t.relowner FROM t)
	ORDER BY r.rolname`

// letReadersRead ends the load of a table that is new to the replication: those may
// read it who are readers now. Default privileges let those read it who were when it
// was created, unless it was hidden from them. One that somebody else had made
// keeps what it grants. A failure is noted in the report, the rows are loaded.
func (c *copying) letReadersRead(ctx context.Context, tx pgx.Tx, report *catalog.Report) error {
	created := !c.step.layout.exists
	if !created && c.there.bookmark != nil {
		return nil
	}
	readers, err := heldReaders(ctx, tx, c.replication)
	if err != nil || len(readers) == 0 && len(c.definition.Readers) == 0 {
		return err
	}
	rows, _ := tx.Query(ctx, newTableSQL, c.target.SQL(), readers)
	var role string
	var wanted bool
	var statements []string
	_, err = pgx.ForEachRow(rows, []any{&role, &wanted}, func() error {
		if wanted && (created || slices.Contains(readers, role)) {
			statements = append(statements, "GRANT SELECT ON TABLE "+c.target.SQL()+" TO "+postgres.Ident(role))
		} else if !wanted && created {
			statements = append(statements, "REVOKE SELECT ON TABLE "+c.target.SQL()+" FROM "+postgres.Ident(role))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look who may read %s: %w", c.target, err)
	}
	if err := tryAll(ctx, tx, statements); err != nil {
		report.Notes = append(slices.Clip(report.Notes), "not all readers may read it: "+err.Error())
	}
	return nil
}

const mayReadSQL = `
	SELECT r.rolname
	FROM pg_catalog.pg_class AS c
	CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
	JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
	WHERE c.oid = $1::pg_catalog.text::pg_catalog.regclass AND a.privilege_type = 'SELECT' AND r.oid <> c.relowner AND r.rolname::pg_catalog.text = ANY ($2::pg_catalog.text[])
	ORDER BY r.rolname`

// hideFromReaders takes from readers what default privileges gave them: a table
// that is copied in parts is not for them to see before it is whole.
func (c *copying) hideFromReaders(ctx context.Context, tx pgx.Tx, hidden postgres.TableName) error {
	if len(c.definition.Readers) == 0 {
		return nil
	}
	rows, _ := tx.Query(ctx, mayReadSQL, hidden.SQL(), c.definition.Readers)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look who may read %s: %w", hidden, err)
	}
	for i, name := range names {
		names[i] = "REVOKE SELECT ON TABLE " + hidden.SQL() + " FROM " + postgres.Ident(name)
	}
	if err := tryAll(ctx, tx, names); err != nil {
		c.note("readers may see a table that is loaded in parts before it is whole: " + err.Error())
	}
	return nil
}

// tryAll runs statements that a load does not depend on: all, or none if one fails.
func tryAll(ctx context.Context, tx pgx.Tx, statements []string) error {
	if len(statements) == 0 {
		return nil
	}
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, strings.Join(statements, ";\n"))
		return err
	})
}
