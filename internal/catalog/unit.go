package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrFenced is returned when another worker, or another run, has taken a unit over.
var ErrFenced = errors.New("another worker has taken over")

// A Unit is a unit of work of a run, as one worker has claimed it.
type Unit struct {
	ID      int64
	PartOf  int64 // the unit of the table that this is a part of; 0 if it is a table
	Attempt int   // of how many; only the latest one can commit
	Work    json.RawMessage
}

// A Progress is how far the parts of a unit are.
type Progress struct {
	Waiting     int // neither done nor failed
	Rows, Bytes int64
	Error       string // of one that failed, or ""
	Code        string // its SQLSTATE, if it has one
}

// QueueUnits records, by a batch, units for workers to claim in their order. partOf is the
// unit that they are parts of, or 0.
func QueueUnits(batch *pgx.Batch, run string, partOf int64, works []json.RawMessage) {
	texts := make([]string, len(works))
	for i, work := range works {
		texts[i] = string(work)
	}
	queue(batch, "record the units of the run", nil, `
		INSERT INTO _stitch.unit (run, part_of, work)
		SELECT $1, nullif($2::bigint, 0), w.work::jsonb
		FROM unnest($3::text[]) WITH ORDINALITY AS w (work, n)
		ORDER BY w.n`, run, partOf, texts)
}

// Claim takes the next unit of a run: of its parts, if partOf is not 0. Parts go
// before tables, so that what has begun is finished. It returns ErrNotFound if
// there is none left. A claim that a crash of the server forgets is as good as
// none, so nobody waits until it is on disk. Worker is a name for this claim alone.
func Claim(ctx context.Context, conn *pgx.Conn, run string, partOf int64, worker string) (Unit, error) {
	var u Unit
	var off string
	err := conn.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET claimed_by = $3, attempt = attempt + 1
		WHERE id = (
			SELECT id
			FROM _stitch.unit
			WHERE run = $1 AND claimed_by IS NULL AND ($2::bigint = 0 OR part_of = $2)
			ORDER BY part_of IS NULL, id
			LIMIT 1
			FOR UPDATE SKIP LOCKED
		)
		RETURNING id, coalesce(part_of, 0), attempt, work, pg_catalog.set_config('synchronous_commit', 'off', true)`,
		run, partOf, worker).Scan(&u.ID, &u.PartOf, &u.Attempt, &u.Work, &off)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return Unit{}, fmt.Errorf("claim a unit of work: %w", err)
	}
	return u, nil
}

// Unclaim gives back the unit that worker has claimed, if there is one: for a claim
// whose answer was not heard.
func Unclaim(ctx context.Context, conn *pgx.Conn, run, worker string) error {
	if _, err := conn.Exec(ctx, "UPDATE _stitch.unit SET claimed_by = NULL WHERE run = $1 AND claimed_by = $2", run, worker); err != nil {
		return fmt.Errorf("give back a unit of work: %w", err)
	}
	return nil
}

// Reclaim begins another attempt at a unit, which bars the one before from
// committing. It returns ErrFenced if somebody else has done so.
func Reclaim(ctx context.Context, tx pgx.Tx, u Unit) (Unit, error) {
	err := tx.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET attempt = attempt + 1
		WHERE id = $1 AND attempt = $2 AND NOT done
		RETURNING attempt`, u.ID, u.Attempt).Scan(&u.Attempt)
	return u, fenced("claim a unit of work again", err)
}

// QueueHold makes sure that nobody has taken the unit over, and nobody does before
// the transaction ends. Send it in the transaction that loads rows: it fails with
// ErrFenced if somebody has.
func QueueHold(batch *pgx.Batch, u Unit) {
	queue(batch, "hold a unit of work", ErrFenced, `
		SELECT attempt
		FROM _stitch.unit
		WHERE id = $1 AND attempt = $2 AND NOT done
		FOR UPDATE`, u.ID, u.Attempt)
}

// QueueFinishUnit marks the unit as done. Send it in the transaction that loads its
// rows: it fails with ErrFenced if somebody has taken the unit over.
func QueueFinishUnit(batch *pgx.Batch, u Unit, rows, bytes int64) {
	queue(batch, "finish a unit of work", ErrFenced, `
		UPDATE _stitch.unit
		SET done = true, rows = $3, bytes = $4
		WHERE id = $1 AND attempt = $2 AND NOT done`, u.ID, u.Attempt, rows, bytes)
}

// FailUnit records why a unit failed, and the SQLSTATE if there is one.
func FailUnit(ctx context.Context, tx pgx.Tx, u Unit, text, code string) error {
	var id int64
	err := tx.QueryRow(ctx, `
		UPDATE _stitch.unit
		SET error = $3, error_code = $4
		WHERE id = $1 AND attempt = $2 AND NOT done
		RETURNING id`, u.ID, u.Attempt, text, code).Scan(&id)
	return fenced("record that a unit of work failed", err)
}

// IsDone asks whether a unit was committed. It waits for a transaction that may
// be about to do so.
func IsDone(ctx context.Context, tx pgx.Tx, u Unit) (bool, error) {
	var done bool
	err := tx.QueryRow(ctx, "SELECT done FROM _stitch.unit WHERE id = $1 FOR UPDATE", u.ID).Scan(&done)
	return done, fenced("ask how a unit of work ended", err)
}

// ProgressOf sums up the parts of a unit.
func ProgressOf(ctx context.Context, tx pgx.Tx, unit int64) (Progress, error) {
	var p Progress
	err := tx.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE NOT done AND error = ''), coalesce(sum(rows), 0), coalesce(sum(bytes), 0),
			coalesce(max(error), ''), coalesce(max(error_code), '')
		FROM _stitch.unit
		WHERE part_of = $1`, unit).Scan(&p.Waiting, &p.Rows, &p.Bytes, &p.Error, &p.Code)
	if err != nil {
		return Progress{}, fmt.Errorf("look how far the parts are: %w", err)
	}
	return p, nil
}

// DropParts forgets the parts of a unit. Those under way can not commit any more.
func DropParts(ctx context.Context, tx pgx.Tx, unit int64) error {
	if _, err := tx.Exec(ctx, "DELETE FROM _stitch.unit WHERE part_of = $1", unit); err != nil {
		return fmt.Errorf("forget the parts of a unit of work: %w", err)
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
