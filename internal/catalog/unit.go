package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrFenced says that another worker, or another run, has taken a unit over.
var ErrFenced = errors.New("another worker has taken over")

// A Unit is a unit of work of a run, as one worker has claimed it: a table, or a range of
// one. It holds values, never SQL: with SQL, a role that can write to the catalog could make
// the login of the source run its statements. The worker looks up in the definition what the
// unit names, so any process that has the same server entries can do it.
type Unit struct {
	ID      int64
	Parent  int64 // the unit of the table whose range this is; 0 if it is a table
	Attempt int   // the number of the attempt; only the latest one can commit
	Table   string
	Kind    string // relkind of the table at the source, "" if it does not exist; of a table only
	Verify  string // of a table only
	Range   *Range // nil for a table
	session Session
}

// A Range is some of the pages of a table and of its partitions, read in one snapshot.
// Workers can read it as long as the worker of the table holds that snapshot.
type Range struct {
	Snapshot string // as pg_export_snapshot named it
	First    int64
	End      int64 // the first page after the range; 0: the end of the table
	Attempt  int   // of the table's unit, to which the staging table belongs
	Text     bool  // whether rows cross as text, whatever their types are
}

// A Progress says how many ranges of a unit are done.
type Progress struct {
	Waiting     int // neither done nor failed
	Rows, Bytes int64
	Error       string // of one that failed, or ""
	Code        string // its SQLSTATE, if it has one
}

// QueueTables records, by a batch, units that are tables. Workers claim them in their order.
func QueueTables(batch *pgx.Batch, run string, units []Unit) {
	tables, kinds, verify := make([]string, len(units)), make([]string, len(units)), make([]string, len(units))
	for i, u := range units {
		tables[i], kinds[i], verify[i] = u.Table, u.Kind, u.Verify
	}
	queue(batch, "record the units of the run", nil, `
		INSERT INTO _stitch.unit (run, source_table, relation_kind, verify)
		SELECT $1, u.source_table, u.relation_kind, u.verify
		FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]), pg_catalog.unnest($4::pg_catalog.text[])) WITH ORDINALITY AS u (source_table, relation_kind, verify, n)
		ORDER BY u.n`, run, tables, kinds, verify)
}

// QueueRanges records, by a batch, ranges of the table of a unit. Workers claim them in their
// order.
func QueueRanges(batch *pgx.Batch, run string, of Unit, ranges []Range) {
	first, end := make([]int64, len(ranges)), make([]int64, len(ranges))
	for i, r := range ranges {
		first[i], end[i] = r.First, r.End
	}
	queue(batch, "record the ranges of a table", nil, `
		INSERT INTO _stitch.unit (run, part_of, source_table, snapshot, first_page, end_page, table_attempt, as_text)
		SELECT $1, $2, $3, $4, r.first_page, r.end_page, $5, $6
		FROM ROWS FROM (pg_catalog.unnest($7::bigint[]), pg_catalog.unnest($8::bigint[])) WITH ORDINALITY AS r (first_page, end_page, n)
		ORDER BY r.n`, run, of.ID, of.Table, ranges[0].Snapshot, of.Attempt, ranges[0].Text, first, end)
}

// Claim takes the next unit of a run for a session. If parent is not 0, it takes a range of
// that unit. It takes ranges before tables, so that what has begun is finished. It returns
// ErrNotFound if no unit is left, or only tables of a run that no longer has a leader. If a
// crash of the server forgets a claim, nothing is lost, so Claim does not wait until the
// claim is on disk. name is for this claim alone.
func Claim(ctx context.Context, conn *pgx.Conn, run string, parent int64, session Session, name string) (Unit, error) {
	u := Unit{session: session}
	var r Range
	var off string
	err := conn.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET claimed_by = $3, attempt = attempt + 1, key = $4, pid = pg_catalog.pg_backend_pid(), lease_expires_at = pg_catalog.clock_timestamp() + $5::interval,
			login = (SELECT u.oid FROM pg_catalog.pg_roles AS u WHERE u.rolname = session_user)
		WHERE id = (
			SELECT id
			FROM _stitch.unit
			WHERE run = $1 AND claimed_by IS NULL AND error = '' AND ($2::bigint = 0 AND (part_of IS NOT NULL OR `+hasLeaderSQL+`) OR part_of = $2)
			ORDER BY part_of IS NULL, id
			LIMIT 1
			FOR UPDATE SKIP LOCKED
		)
		RETURNING id, coalesce(part_of, 0), attempt, source_table, coalesce(relation_kind, ''), coalesce(verify, ''),
			coalesce(snapshot, ''), coalesce(first_page, 0), coalesce(end_page, 0), coalesce(table_attempt, 0), coalesce(as_text, false),
			pg_catalog.set_config('synchronous_commit', 'off', true)`, run, parent, name, session.key, session.lease).Scan(
		&u.ID, &u.Parent, &u.Attempt, &u.Table, &u.Kind, &u.Verify, &r.Snapshot, &r.First, &r.End, &r.Attempt, &r.Text, &off)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Unit{}, fmt.Errorf("claim a unit of work: %w", err)
	}
	if u.Parent != 0 {
		u.Range = &r
	}
	return u, nil
}

// ReleaseClaim gives back the unit that the claim of that name has taken, if there is one: for
// a claim whose answer was lost.
func ReleaseClaim(ctx context.Context, conn *pgx.Conn, run, name string) error {
	if _, err := conn.Exec(ctx, "UPDATE _stitch.unit SET claimed_by = NULL WHERE run = $1 AND claimed_by = $2", run, name); err != nil {
		return fmt.Errorf("give back a unit of work: %w", err)
	}
	return nil
}

// Reclaim begins another attempt at a unit, maybe in another session, which stops the one
// before from committing. It returns ErrFenced if another worker has taken the unit over.
func Reclaim(ctx context.Context, tx pgx.Tx, u Unit, session Session) (Unit, error) {
	err := tx.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET attempt = attempt + 1, key = $3, pid = pg_catalog.pg_backend_pid(), lease_expires_at = pg_catalog.clock_timestamp() + $4::interval,
			login = (SELECT u.oid FROM pg_catalog.pg_roles AS u WHERE u.rolname = session_user)
		WHERE id = $1 AND attempt = $2 AND claimed_by IS NOT NULL AND NOT done
		RETURNING attempt`, u.ID, u.Attempt, session.key, session.lease).Scan(&u.Attempt)
	u.session = session
	return u, fenced("claim a unit of work again", err)
}

// Release gives a unit back, for others to claim. It returns ErrFenced if another worker has
// taken it over.
func Release(ctx context.Context, tx pgx.Tx, u Unit) error {
	var id int64
	err := tx.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET claimed_by = NULL
		WHERE id = $1 AND attempt = $2 AND claimed_by IS NOT NULL AND NOT done
		RETURNING id`, u.ID, u.Attempt).Scan(&id)
	return fenced("give back a unit of work", err)
}

// QueueRenewLease renews the lease of the unit, and makes sure that no other worker has taken
// the unit over or does so before the transaction ends. Send it in the transaction that loads
// rows: it fails with ErrFenced if another worker has.
func QueueRenewLease(batch *pgx.Batch, u Unit) {
	queue(batch, "hold a unit of work", ErrFenced, `
		UPDATE _stitch.unit
		SET lease_expires_at = pg_catalog.clock_timestamp() + $3::interval
		WHERE id = $1 AND attempt = $2 AND claimed_by IS NOT NULL AND NOT done`, u.ID, u.Attempt, u.session.lease)
}

// QueueFinishUnit marks the unit as done. Send it in the transaction that loads its rows: it
// fails with ErrFenced if another worker has taken the unit over.
func QueueFinishUnit(batch *pgx.Batch, u Unit, rows, bytes int64) {
	queue(batch, "finish a unit of work", ErrFenced, `
		UPDATE _stitch.unit
		SET done = true, rows = $3, bytes = $4
		WHERE id = $1 AND attempt = $2 AND claimed_by IS NOT NULL AND NOT done`, u.ID, u.Attempt, rows, bytes)
}

// FailUnit records why a unit failed, and the SQLSTATE if there is one. No worker claims the
// unit again. It returns ErrFenced if another worker has taken it over.
func FailUnit(ctx context.Context, tx pgx.Tx, u Unit, text, code string) error {
	var id int64
	err := tx.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET error = $3, error_code = $4
		WHERE id = $1 AND attempt = $2 AND claimed_by IS NOT NULL AND NOT done
		RETURNING id`, u.ID, u.Attempt, text, code).Scan(&id)
	return fenced("record that a unit of work failed", err)
}

// IsDone reports whether a unit was committed. It waits for a transaction that may be about
// to commit it.
func IsDone(ctx context.Context, tx pgx.Tx, u Unit) (bool, error) {
	var done bool
	err := tx.QueryRow(ctx, "SELECT done FROM _stitch.unit WHERE id = $1 FOR UPDATE", u.ID).Scan(&done)
	return done, fenced("check whether a unit of work is done", err)
}

// ProgressOf sums up the ranges of a unit.
func ProgressOf(ctx context.Context, tx pgx.Tx, unit int64) (Progress, error) {
	var p Progress
	err := tx.QueryRow(ctx, `
		SELECT pg_catalog.count(*) FILTER (WHERE NOT done AND error = ''), coalesce(pg_catalog.sum(rows), 0)::bigint, coalesce(pg_catalog.sum(bytes), 0)::bigint,
			coalesce((pg_catalog.array_agg(error ORDER BY id) FILTER (WHERE error <> ''))[1], ''),
			coalesce((pg_catalog.array_agg(error_code ORDER BY id) FILTER (WHERE error <> ''))[1], '')
		FROM _stitch.unit
		WHERE part_of = $1`, unit).Scan(&p.Waiting, &p.Rows, &p.Bytes, &p.Error, &p.Code)
	if err != nil {
		return Progress{}, fmt.Errorf("read how far the ranges of a table are: %w", err)
	}
	return p, nil
}

// DeleteRanges deletes the ranges of a unit. Workers that copy them can no longer commit.
func DeleteRanges(ctx context.Context, tx pgx.Tx, unit int64) error {
	if _, err := tx.Exec(ctx, "DELETE FROM _stitch.unit WHERE part_of = $1", unit); err != nil {
		return fmt.Errorf("delete the ranges of a unit of work: %w", err)
	}
	return nil
}

func fenced(what string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
