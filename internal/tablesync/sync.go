package tablesync

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// A tableSync is one table that a worker replicates, over all attempts.
type tableSync struct {
	job       Job
	sessions  *Sessions
	queue     *Queue
	table     string // as the definition writes it
	selection definition.Selection
	target    destination.Target
	began     time.Time
	report    catalog.Report
	learned   learned
}

// SyncTable copies the table of a unit and returns the report on it, which is then in the
// catalog too.
func SyncTable(ctx context.Context, j Job, sessions *Sessions, queue *Queue, unit catalog.Unit) catalog.Report {
	s, err := newTableSync(j, sessions, queue, unit)
	if err == nil {
		unit, err = s.copyWithRetry(ctx, unit)
	}
	if err != nil {
		s.fail(ctx, unit, err)
	}
	return s.report
}

func newTableSync(j Job, sessions *Sessions, queue *Queue, unit catalog.Unit) (*tableSync, error) {
	selection := j.Definition.Tables[unit.Table]
	name, err := j.Definition.TableNameOf(unit.Table)
	return &tableSync{
		job: j, sessions: sessions, queue: queue, table: unit.Table, selection: selection, began: time.Now(),
		target:  destination.Target{Replication: j.Replication, Name: relation.TableName{Schema: j.Definition.SchemaName, Name: name}},
		learned: learned{chunkRows: j.ChunkRows},
		report: catalog.Report{
			SourceTable: unit.Table, TableName: name, Status: catalog.Succeeded, Method: selection.Method, ReplicationKey: selection.ReplicationKey,
		},
	}, err
}

// copyWithRetry retries until an attempt succeeds or the error is permanent. Each attempt
// continues from what the catalog says was committed. It returns the unit as the latest
// attempt has claimed it.
func (s *tableSync) copyWithRetry(ctx context.Context, unit catalog.Unit) (catalog.Unit, error) {
	for attempt := 1; ; attempt++ {
		err := s.attempt(ctx, unit)
		if err == nil {
			return unit, nil
		}
		var unknown *commitUnknownError
		if errors.As(err, &unknown) {
			if committed, askErr := s.commitOutcome(ctx, unit); askErr != nil || committed {
				return unit, askErr
			}
		}
		if ctx.Err() != nil || attempt == attempts || !s.mayRetry(err) {
			return unit, err
		}
		if unit, err = s.nextAttempt(ctx, unit, attempt); err != nil {
			return unit, err
		}
	}
}

// attempt extracts and loads the table once, in as many snapshots as it takes.
func (s *tableSync) attempt(ctx context.Context, unit catalog.Unit) error {
	for {
		done, err := s.inSnapshot(ctx, unit)
		if done || err != nil {
			return err
		}
	}
}

// inSnapshot reads and loads as much as one snapshot allows. It ends when the snapshot has
// become too old, but once the snapshot was given back nothing cuts it short.
func (s *tableSync) inSnapshot(ctx context.Context, unit catalog.Unit) (done bool, err error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	plan, done, err := s.planAndLoad(limited, unit, s.ageLimit(cancel))
	var unknown *commitUnknownError // for which the run asks the destination
	switch {
	case err == nil:
		return done, nil
	case errors.Is(context.Cause(limited), ErrSnapshotAge) && !errors.As(err, &unknown):
		return false, s.explainAge(plan.ordered)
	}
	return false, s.advise(ctx, plan, err)
}

// planAndLoad reads both sides, decides, and carries the plan out. It returns the plan as far
// as it was made.
func (s *tableSync) planAndLoad(ctx context.Context, unit catalog.Unit, limit limitFunc) (plan plan, done bool, err error) {
	read, plan, err := s.prepare(ctx, unit, limit)
	if err != nil {
		return plan, false, err
	}
	defer func() {
		read.close(ctx)
		if err != nil {
			s.noteSnapshot(read.snapshot)
		}
	}()
	s.noteChanges(plan.changes)
	for _, note := range plan.guarantees(s.selection, read.facts, s.sessions.Source.Identity.Standby) {
		s.note(note)
	}
	if plan, err = s.completePlan(ctx, read.snapshot, plan); err != nil {
		return plan, false, err
	}
	done, err = s.load(ctx, unit, read, plan)
	return plan, done, err
}

// mayRetry reports whether another attempt may succeed.
func (s *tableSync) mayRetry(err error) bool {
	var age *snapshotAgeError
	if errors.As(err, &age) {
		return age.ordered && s.shrinkChunks()
	}
	var source *copywire.SourceError
	if !s.learned.asText && !errors.As(err, &source) && isBinaryRefused(err) {
		s.learned.asText = true
		s.note("rows are transferred as text: the destination refused their binary form (" + err.Error() + ")")
		return true
	}
	return s.sessions.isTransient(err)
}

// isBinaryRefused reports whether a server could not read the binary form of a row.
func isBinaryRefused(err error) bool {
	code := pgclient.Code(err)
	var elsewhere *rangeError
	if errors.As(err, &elsewhere) {
		code = elsewhere.code
	}
	switch code {
	case pgclient.InvalidBinaryRepresentation, pgclient.ProtocolViolation, pgclient.DatatypeMismatch:
		return true
	}
	return false
}

// nextAttempt begins another attempt.
func (s *tableSync) nextAttempt(ctx context.Context, unit catalog.Unit, attempt int) (next catalog.Unit, err error) {
	if err := pgclient.Pause(ctx, backoff(attempt)); err != nil {
		return unit, err
	}
	if err := s.sessions.WithRetry(ctx, s.sessions.Reconnect); err != nil {
		return unit, err
	}
	err = s.sessions.Destination.In(ctx, func(tx pgx.Tx) (err error) {
		next, err = catalog.Reclaim(ctx, tx, unit, s.sessions.Destination.Session)
		return err
	})
	return next, err
}

// A commitUnknownError says that the destination did not answer whether it committed.
type commitUnknownError struct{ error }

func (e *commitUnknownError) Unwrap() error { return e.error }

// commitOutcome reads whether a transaction whose COMMIT got no reply was committed. It asks
// the destination alone, even if the run was cancelled in between.
func (s *tableSync) commitOutcome(ctx context.Context, unit catalog.Unit) (committed bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
	defer cancel()
	if err := s.sessions.WithRetry(ctx, s.sessions.Destination.Reconnect); err != nil {
		return false, err
	}
	err = s.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if committed, err = catalog.IsDone(ctx, tx, unit); err != nil {
			return err
		}
		stored, err := catalog.ReportOf(ctx, tx, s.job.Run.ID, s.table)
		if err == nil { // of a chunk, or of everything
			stored.Notes = s.report.Notes
			s.report = stored
			s.report.Status = catalog.Succeeded
		}
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		return err
	})
	return committed, err
}

// fail records why the table was not replicated. Committed chunks stay in the report.
func (s *tableSync) fail(ctx context.Context, unit catalog.Unit, err error) {
	r := &s.report
	r.Status = catalog.Failed
	if ctx.Err() != nil {
		r.Status = catalog.Interrupted
	}
	r.Duration = source.Elapsed(s.began)
	why := s.sessions.advise(err)
	r.Error = pgclient.Explain(why)
	err = s.sessions.Record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := endUnit(ctx, tx, unit, r.Status == catalog.Interrupted, why); err != nil {
			return err
		}
		return pgclient.Send(ctx, tx, "record the failure", func(batch *pgx.Batch) { catalog.QueueReport(batch, s.job.Run.ID, *r) })
	})
	if err != nil { // fenced: another worker reports on it
		r.Error += "\n" + pgclient.Explain(err)
	}
}

func (s *tableSync) note(text string) {
	if !slices.Contains(s.report.Notes, text) {
		s.report.Notes = append(s.report.Notes, text)
	}
}

func (s *tableSync) noteChanges(changes []string) {
	for _, change := range changes {
		if !slices.Contains(s.report.Changes, change) {
			s.report.Changes = append(s.report.Changes, change)
		}
	}
}
