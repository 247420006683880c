package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A copying is one table as a worker replicates it.
type copying struct {
	*worker
	unit      catalog.Unit
	selection Selection
	target    postgres.TableName
	report    catalog.Report
	began     time.Time
	text      bool     // whether rows are to cross as text: as binary they were refused
	added     []string // columns that the target was given, with what old rows hold in them
	fixed     []string // columns of the target whose type cannot be changed
	rows      int      // about how many are committed at once of a backlog

	// Of the current attempt.
	tooOld     func()    // ends it, because a snapshot has become too old
	targetTx   pgx.Tx    // in which the target was locked and inspected; nil once it was used
	committing time.Time // when that transaction, or the one after it, began, by the destination's clock
	extraction *extraction
	there      known
	step       step
	greatest   *string // replication key of the rows to load; nil if none has one
	newest     []catalog.Remembered
	inParts    bool // whether several workers read the table
}

// replicate copies the table of a unit and returns the report on it, which is
// then in the catalog too.
func (w *worker) replicate(ctx context.Context, unit catalog.Unit) catalog.Report {
	c := &copying{worker: w, unit: unit, selection: w.definition.Tables[unit.Table], rows: w.chunkRows, began: time.Now()}
	name, err := w.definition.TableNameOf(unit.Table)
	c.target = postgres.TableName{Schema: w.definition.SchemaName, Name: name}
	c.report = catalog.Report{
		SourceTable: unit.Table, TableName: name, Status: catalog.Succeeded,
		Method: c.selection.Method, ReplicationKey: c.selection.ReplicationKey,
	}
	if err == nil {
		err = c.persist(ctx)
	}
	if err != nil {
		c.fail(ctx, err)
	}
	return c.report
}

// persist makes attempts until one succeeds, or there is no hope. Each goes on
// from what the catalog says was committed.
func (c *copying) persist(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := c.attempt(ctx)
		if err == nil {
			return nil
		}
		var unknown *commitUnknownError
		if errors.As(err, &unknown) {
			if committed, askErr := c.ask(ctx); askErr != nil || committed {
				return askErr
			}
		}
		if ctx.Err() != nil || attempt == attempts || !c.mayRetry(err) {
			return err
		}
		if err := c.again(ctx, attempt); err != nil {
			return err
		}
	}
}

// mayRetry reports whether another attempt may go better.
func (c *copying) mayRetry(err error) bool {
	if errors.Is(err, errSnapshotAge) {
		return c.lessAtOnce()
	}
	var source *sourceError
	if !c.text && !errors.As(err, &source) && isBinaryRefused(err) {
		c.text = true
		c.note("rows cross as text: the destination refused their binary form (" + err.Error() + ")")
		return true
	}
	return c.sessions.isTransient(err)
}

// again begins another attempt.
func (c *copying) again(ctx context.Context, attempt int) error {
	if err := sleep(ctx, backoff(attempt)); err != nil {
		return err
	}
	if err := c.sessions.withRetry(ctx, c.sessions.reconnect); err != nil {
		return err
	}
	return c.sessions.destination.in(ctx, func(tx pgx.Tx) (err error) {
		c.unit, err = catalog.Reclaim(ctx, tx, c.unit)
		return err
	})
}

// ask finds out whether the transaction was committed whose end was not heard of:
// of the destination alone, and also if the run was cancelled meanwhile.
func (c *copying) ask(ctx context.Context) (committed bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := c.sessions.withRetry(ctx, c.sessions.destination.reconnect); err != nil {
		return false, err
	}
	err = c.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if committed, err = catalog.IsDone(ctx, tx, c.unit); err != nil {
			return err
		}
		stored, err := catalog.ReportOf(ctx, tx, c.run.ID, c.unit.Table)
		if err == nil { // of a piece, or of all
			stored.Notes = c.report.Notes
			c.report = stored
			c.report.Status = catalog.Succeeded
		}
		if errors.Is(err, catalog.ErrNotFound) {
			return nil
		}
		return err
	})
	return committed, err
}

// fail records why the table was not replicated. Pieces that were committed stay
// in the report.
func (c *copying) fail(ctx context.Context, err error) {
	r := &c.report
	r.Status = catalog.Failed
	if ctx.Err() != nil {
		r.Status = catalog.Interrupted
	}
	r.Duration = elapsed(c.began)
	if c.extraction != nil {
		r.Snapshot = max(r.Snapshot, c.extraction.held())
	}
	r.Error = postgres.Explain(c.advise(ctx, err))
	if err := c.sessions.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return postgres.Send(ctx, tx, "record the failure", func(batch *pgx.Batch) { catalog.QueueReport(batch, c.run.ID, *r) })
	}); err != nil {
		r.Error += "\n" + postgres.Explain(err)
	}
}

// elapsed is as precise as the catalog keeps it.
func elapsed(since time.Time) time.Duration { return time.Since(since).Truncate(time.Millisecond) }

func (c *copying) note(text string) {
	if !slices.Contains(c.report.Notes, text) {
		c.report.Notes = append(c.report.Notes, text)
	}
}

// attempt extracts and loads the table once, in as many snapshots as it takes.
func (c *copying) attempt(ctx context.Context) error {
	for {
		done, err := c.inTime(ctx)
		if done || err != nil {
			return err
		}
	}
}

// inSnapshot reads and loads as much as one snapshot allows. The target is locked
// before the snapshot is taken, which holds back VACUUM at the source: nothing waits
// for a lock on it meanwhile, for longer than one turn, but the merge of parts that
// are verified. Where the target must be changed first, both are left for that, and
// opened again.
func (c *copying) inSnapshot(ctx context.Context) (done bool, err error) {
	name, err := c.definition.sourceTable(c.unit.Table)
	if err != nil {
		return false, err
	}
	if c.unit.Kind == "" {
		return false, errors.New(c.definition.noTable(name))
	}
	c.inParts = false
	defer c.leaveTarget(ctx)
	for changed := true; changed; {
		if err := c.enterTarget(ctx, lockPatience); err != nil {
			return false, err
		}
		if err := c.open(ctx, name); err != nil {
			return false, err
		}
		defer c.extraction.close(ctx)
		if changed, err = c.arrange(ctx); err != nil {
			return false, err
		}
	}
	c.noteChanges()
	c.noteGuarantees()
	return c.load(ctx)
}

func (c *copying) noteChanges() {
	for _, change := range c.step.layout.changes {
		if !slices.Contains(c.report.Changes, change) {
			c.report.Changes = append(c.report.Changes, change)
		}
	}
}

// open begins the extraction, and decides the next step. What has to be known
// of before the snapshot is asked before it, if it turns out to be needed.
func (c *copying) open(ctx context.Context, name postgres.TableName) error {
	var asked *survey
	if b := c.there.bookmark; b != nil && len(b.Horizon.Open) > 0 {
		var err error
		if asked, err = surveyOpen(ctx, c.sessions.source.session); err != nil {
			return &sourceError{err}
		}
	}
	for {
		extraction, err := openExtraction(ctx, c.sessions.source.session, name, postgres.RelationKind(c.unit.Kind), questionOf(c.selection, c.there.loaded))
		if err != nil {
			return err
		}
		c.extraction, extraction.stopLimit = extraction, c.limit(extraction.began)
		extraction.sight.survey, extraction.sight.timeline = asked, c.sessions.source.identity.timeline
		if err := c.decide(ctx); err != nil {
			c.endSnapshot(ctx)
			return err
		}
		if !c.needsSurvey() || asked != nil && asked.oid == extraction.table.OID {
			return nil
		}
		c.endSnapshot(ctx)
		if asked, err = c.surveyInTime(ctx, extraction.table, c.step.window.key); err != nil {
			return err
		}
	}
}

// needsSurvey reports whether it matters which transactions were open before the
// snapshot was taken.
func (c *copying) needsSurvey() bool {
	before := c.there.bookmark
	begins := c.step.window.since == nil || before == nil || before.Horizon.Snapshot == ""
	return begins && c.selection.Method == Incremental && c.step.late > 0 &&
		!isTime(c.step.window.key) && c.extraction.sight.snapshot != ""
}

// decide decides the next step.
func (c *copying) decide(ctx context.Context) error {
	if problems := c.selection.check(c.unit.Table, c.extraction.table); len(problems) > 0 {
		return problems[0]
	}
	var err error
	if c.extraction.money, err = fractionsOf(ctx, c.selection.selected(c.extraction.table), c.extraction.tx, c.targetTx); err != nil {
		return err
	}
	if err := c.judgeSource(ctx); err != nil {
		return err
	}
	next, err := nextStep(c.selection, c.extraction, c.sessions.source.identity.String(), c.target, c.there, c.definition.late())
	if err != nil {
		return err
	}
	next.layout.text = c.text
	if from := &next.window.from; *from != "" && c.extraction.table.Kind == postgres.PartitionedTable {
		if *from, err = c.extraction.constant(ctx, *from, next.window.key.sql); err != nil {
			return &sourceError{err}
		}
	}
	if len(next.doubtful) > 0 && next.window.since != nil {
		more, err := c.extraction.holdsMore(ctx, next)
		if err != nil {
			return &sourceError{err}
		}
		if more {
			next.window.since, next.why = nil, "rows before the bookmark hold values in columns that were added"
		}
	}
	c.step = next
	return c.decideAttached(ctx)
}

// decideAttached adds to the window the rows of partitions that came since the
// bookmark was set, or came back. They may be older than both, and have any key.
func (c *copying) decideAttached(ctx context.Context) error {
	w := &c.step.window
	if w.since == nil {
		return nil
	}
	var added []uint32
	for _, leaf := range c.extraction.heap.leaves {
		if attached, known := c.there.loaded.SourceParts[leaf]; !known || attached != c.extraction.heap.parts[leaf] {
			added = append(added, leaf)
		}
	}
	if len(added) == 0 {
		return nil
	}
	if !c.extraction.heap.told {
		w.since, c.step.why = nil, "partitions were added, and the login may not read which rows are theirs"
		return nil
	}
	var err error
	if w.attached, err = c.extraction.rowsOf(ctx, added); err != nil {
		return &sourceError{err}
	}
	some, err := c.extraction.holdsAttached(ctx, *w)
	switch {
	case err != nil:
		return &sourceError{err}
	case !some:
		w.attached = ""
	case w.keyless:
		w.since, c.step.why = nil, "partitions were added that held rows, and rows without a primary key can only be compared whole"
	}
	return nil
}

// arrange makes the destination table ready for the step, and reports whether it
// had to be changed. That takes a lock which readers conflict with, and commits
// alone. No snapshot is held meanwhile.
func (c *copying) arrange(ctx context.Context) (changed bool, err error) {
	l := c.step.layout
	sql := l.alterSQL()
	if !l.exists || sql == "" {
		return false, nil
	}
	c.endSnapshot(ctx)
	c.leaveTarget(ctx)
	err = c.alter(ctx, sql)
	if code := postgres.Code(err); (code == "0A000" || code == "42601") && len(l.widen) > 0 {
		// Something else than a view depends on the columns, such as a generated
		// column, for which PostgreSQL 12 to 14 report a syntax error. Leave them alone.
		for _, column := range l.widen {
			c.fixed = append(c.fixed, column.name)
		}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, column := range l.add {
		c.added = append(c.added, column.name)
	}
	c.noteChanges()
	return true, nil
}

// noteGuarantees says what cannot be promised of this table, and what is
// otherwise than usual.
func (c *copying) noteGuarantees() {
	step, sight := c.step, c.extraction.sight
	if types := step.layout.textual(); len(types) > 0 {
		c.note("rows cross as text, because these types have no binary form that means the same on both sides: " + strings.Join(types, ", "))
	}
	if step.why != "" && (step.reset || c.selection.Method == Incremental) {
		c.note("replicated whole: " + step.why)
	}
	if step.window.rewritten {
		c.note("the table was emptied by TRUNCATE, or rewritten: rows with any key were looked through")
	}
	if c.selection.keepsVersions(c.extraction.table) {
		c.note(keepsVersions)
	}
	if c.selection.Method != Incremental || step.late == 0 {
		return
	}
	if sight.snapshot == "" {
		c.note(fmt.Sprintf("rows that are committed late, with a key before the bookmark, are missed: %s", sight.blind))
	} else if c.sessions.source.identity.standby && !isTime(step.window.key) {
		c.note("the source is a standby, which does not know the transactions of its primary: a row is missed if its transaction was open " +
			"while the table was read for the first time, with a key before the bookmark")
	}
}

// A TablesError says which tables of a run failed, and why.
type TablesError struct {
	Reports []catalog.Report // of the tables that failed
}

func (e *TablesError) Error() string {
	lines := make([]string, len(e.Reports))
	for i, r := range e.Reports {
		lines[i] = r.SourceTable + ": " + strings.ReplaceAll(r.Error, "\n", "\n  ")
	}
	return strings.Join(lines, "\n\n")
}

// isBinaryRefused reports whether a server could not read the binary form of a row.
func isBinaryRefused(err error) bool {
	code := postgres.Code(err)
	var elsewhere *rangeError
	if errors.As(err, &elsewhere) {
		code = elsewhere.code
	}
	switch code {
	case "22P03", "08P01", "42804":
		return true
	}
	return false
}
