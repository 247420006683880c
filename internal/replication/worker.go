package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A job is what all workers of a run share.
type job struct {
	definition  Definition
	replication int64
	run         catalog.Run
	streams     int // workers in this process
	logger      *slog.Logger
	lease       time.Duration // of what a worker claims
	pieceRows   int
	partBytes   int64
	maxSnapshot time.Duration // how long a snapshot may be held; 0: as long as it takes
	expiries    *sync.Map     // by the names of shared snapshots, the times when they become too old
}

// A worker replicates tables of a run, through a connection to each side.
type worker struct {
	job
	identity    identity // of the source
	source      *postgres.Conn
	destination *postgres.Conn
	leads       bool             // whether its session holds the replication's lock
	types       postgres.TypeSet // of the destination
	notes       []string         // of the run, from its start
	answered    time.Time        // when the latest unit ended well, and with it what both sides were asked; else zero
	claims      int              // how often it claimed a unit
	claiming    string           // its name in the latest claim, unless that was answered

	sourceReady      reading         // the session that is prepared
	destinationReady *pgx.Conn       // the session that is prepared
	session          catalog.Session // which is that one, as other workers know it
}

// lease is for how long a unit is a worker's after its session has ended: longer than it
// takes to connect again, with all the pauses of patiently.
const lease = 30 * time.Second

// pollInterval is how often a worker looks what others have done.
const pollInterval = 50 * time.Millisecond

// errNotLed is met when a run has no leader any more.
var errNotLed = errors.New("the process that led the run is gone, or has lost its connection to the destination: the next run goes on from what was committed")

// work does units of the run until each is done, by whatever process.
func (w *worker) work(ctx context.Context) error {
	for ctx.Err() == nil {
		found, err := w.workOnNext(ctx)
		switch {
		case err != nil:
			return err
		case !found.Left:
			return nil
		case !found.Led:
			return errNotLed
		}
	}
	return nil
}

// survive is work, of which a panic becomes an error: it would end the provider, and
// with it what it does for other resources.
func (w *worker) survive(ctx context.Context) (err error) {
	defer func() {
		if what := recover(); what != nil {
			for _, conn := range []*postgres.Conn{w.source, w.destination} { // they may be in the middle of anything
				interrupt(ctx, conn.PgConn())
			}
			err = fmt.Errorf("a fault of this provider has ended a worker of the run. What was committed stays, and the next run goes on from there. "+
				"Report it to the provider's maintainers with these lines: %v\n%s", what, debug.Stack())
		}
	}()
	return w.work(ctx)
}

// leave gives back what a worker has claimed that does not go on. If it cannot say so,
// its session ends, and others find out.
func (w *worker) leave(ctx context.Context) {
	session := w.session // which may have ended
	err := w.record(ctx, func(ctx context.Context, tx pgx.Tx) error { return session.ReleaseAll(ctx, tx) })
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		_ = w.destination.Close(ctx)
	}
}

// workOnNext does the next unit. If there is none, it waits a little for those that
// others do, which may be divided into ranges, and for those of workers that are lost.
func (w *worker) workOnNext(ctx context.Context) (found catalog.Tending, err error) {
	var unit catalog.Unit
	found = catalog.Tending{Left: true, Led: true}
	err = w.patiently(ctx, func(ctx context.Context) error {
		if err := w.reconnectInDoubt(ctx); err != nil {
			return err
		}
		unit, err = w.claim(ctx, 0)
		if errors.Is(err, catalog.ErrNotFound) {
			found, err = w.tend(ctx, 0)
		}
		return err
	})
	switch {
	case err != nil:
		return found, err
	case unit.ID == 0:
		_ = sleep(ctx, pollInterval) // the caller asks whether it is cancelled
		return found, nil
	}
	w.answered = time.Time{}
	if unit.Range != nil {
		return found, w.help(ctx, unit)
	}
	report := w.replicate(ctx, unit)
	if report.Status == catalog.Succeeded {
		w.answered = time.Now()
	}
	w.logger.InfoContext(ctx, "table "+report.Status, "run", w.run.ID, "table", report.SourceTable,
		"rows_extracted", report.RowsExtracted, "rows_loaded", report.RowsLoaded, "duration", report.Duration)
	return found, nil
}

// help copies a part, or tells the worker whose table it is why not. That one
// decides whether to try the table again: a snapshot may be gone. If it cannot
// be told, it finds out by itself, see catalog.Tend.
func (w *worker) help(ctx context.Context, unit catalog.Unit) error {
	err := w.copyPartInTime(ctx, unit)
	if err == nil || errors.Is(err, errSnapshotAge) { // which the other worker has met as well
		return nil
	}
	cancelled := ctx.Err() != nil
	return w.record(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := endUnit(ctx, tx, unit, cancelled, w.advise(err))
		if errors.Is(err, catalog.ErrFenced) {
			return nil // the table is being tried again already
		}
		return err
	})
}

// endUnit gives up a unit. Others may take it over if its worker was only cancelled.
func endUnit(ctx context.Context, tx pgx.Tx, unit catalog.Unit, cancelled bool, why error) error {
	if cancelled {
		return catalog.Release(ctx, tx, unit)
	}
	return catalog.FailUnit(ctx, tx, unit, postgres.Explain(why), postgres.Code(why))
}

// tend looks after the leases of the run. holds is the unit that this worker has.
func (w *worker) tend(ctx context.Context, holds int64) (catalog.Tending, error) {
	return catalog.Tend(ctx, w.destination.Conn, w.run.ID, w.session, holds, attempts)
}

// claim takes the next unit, of the table that partOf replicates if it is not 0.
// What the claim before took, if its answer got lost, is given back first.
func (w *worker) claim(ctx context.Context, partOf int64) (unit catalog.Unit, err error) {
	if w.claiming != "" {
		if err := catalog.Unclaim(ctx, w.destination.Conn, w.run.ID, w.claiming); err != nil {
			return catalog.Unit{}, err
		}
	}
	w.claims++
	w.claiming = fmt.Sprintf("backend %d claim %d", w.destination.PgConn().PID(), w.claims)
	unit, err = catalog.Claim(ctx, w.destination.Conn, w.run.ID, partOf, w.session, w.claiming)
	if err == nil || errors.Is(err, catalog.ErrNotFound) {
		w.claiming = ""
	} else {
		w.answered = time.Time{}
	}
	return unit, err
}

// attempts is how often a unit is tried.
const attempts = 5

// backoff is how long to wait after an attempt.
func backoff(attempt int) time.Duration { return time.Duration(1<<attempt) * 500 * time.Millisecond }

// passes reports whether an error is one that passes: a hot standby that had to
// go on, a server that restarts, a deadlock, a lost connection.
func (w *worker) passes(err error) bool {
	var unknown *unknownError
	var part *partError
	if errors.Is(err, errLeaves) || errors.As(err, &unknown) || errors.As(err, &part) {
		return true
	}
	var held *heldError
	if errors.As(err, &held) {
		return false
	}
	switch code := postgres.Code(err); code {
	case "40001", "40P01", "57P01", "57P02", "57P03", "53300", "08000", "08003", "08006", lockNotAvailable:
		return true
	case "":
		return postgres.IsUnreachable(err) || w.source.IsClosed() || w.destination.IsClosed()
	}
	return false
}

// isBinaryRefused reports whether a server could not read the binary form of a row.
func isBinaryRefused(err error) bool {
	code := postgres.Code(err)
	var part *partError
	if errors.As(err, &part) {
		code = part.code
	}
	switch code {
	case "22P03", "08P01", "42804":
		return true
	}
	return false
}

// patiently reconnects to servers that may be about to come back.
func (w *worker) patiently(ctx context.Context, reconnect func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := reconnect(ctx)
		if err == nil || attempt == attempts || !w.passes(err) {
			return err
		}
		if err := sleep(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

// trusted is how long after they answered both sides are believed to be there.
const trusted = time.Second

// reconnectInDoubt is reconnect, unless both sides have just answered.
func (w *worker) reconnectInDoubt(ctx context.Context) error {
	if time.Since(w.answered) < trusted {
		return nil
	}
	return w.reconnect(ctx)
}

// reconnect makes both sessions ready. It replaces those that broke.
func (w *worker) reconnect(ctx context.Context) error {
	if err := w.source.Renew(ctx); err != nil {
		return err
	}
	if w.sourceReady.Conn != w.source.Conn {
		session, err := prepare(ctx, w.source.Conn, w.definition.Source.Server, sourceLockTimeout)
		if err != nil {
			return &extractError{err}
		}
		found, err := identify(ctx, session)
		if err != nil {
			return &extractError{err}
		}
		if err := w.meet(found); err != nil {
			return err
		}
		session.identity = found
		w.sourceReady = session
	}
	return w.reconnectDestination(ctx)
}

// meet takes note of which server a session has reached.
func (w *worker) meet(found identity) error {
	if known := w.identity; known != (identity{}) {
		if known.system != found.system {
			return fmt.Errorf("a new connection to server %q reached another cluster, %s instead of %s", w.definition.Source.Server, found.system, known.system)
		}
		first := w.sourceReady.Conn == nil // later it may have been started again
		if !w.leads && (known.address != found.address || first && known.started != found.started) {
			return errBalanced
		}
	}
	w.identity = found
	return nil
}

// errBalanced is what a worker gives up for that could not read what the others do.
var errBalanced = errors.New("connections to the source reach different servers, as a load balancer makes them do: " +
	"the run read it through one connection only, and runs may find it in states that differ; name one server as the host")

// reconnectDestination makes the destination's session ready. That of the leader
// is the only one that runs the replication.
func (w *worker) reconnectDestination(ctx context.Context) error {
	if err := w.destination.Renew(ctx); err != nil {
		return err
	}
	if w.destinationReady == w.destination.Conn {
		return nil
	}
	if _, err := prepare(ctx, w.destination.Conn, w.definition.Destination.Server, destinationLockTimeout); err != nil {
		return err
	}
	if err := catalog.OpenSession(ctx, w.destination.Conn); err != nil {
		return err
	}
	var err error
	if w.session, err = catalog.BeginSession(ctx, w.destination.Conn, w.lease); err != nil {
		return err
	}
	if w.leads {
		if err := catalog.Lock(ctx, w.destination.Conn, w.replication, w.session); err != nil {
			return err
		}
	}
	if w.types, err = postgres.ReadTypeSet(ctx, w.destination.Conn); err != nil {
		return err
	}
	w.destinationReady = w.destination.Conn
	return nil
}

// close ends both sessions: they have settings, a role and maybe a lock of their
// own. The server would free the lock by itself, but only some time after it has
// been told goodbye.
func (w *worker) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if w.leads && w.destinationReady == w.destination.Conn && !w.destination.IsClosed() {
		_ = catalog.Unlock(ctx, w.destination.Conn, w.replication)
	}
	w.source.Discard()
	w.destination.Discard()
}

// record writes to the catalog, even when ctx is cancelled or the connection broke.
// What f does may be done twice.
func (w *worker) record(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	work := func(tx pgx.Tx) error { return f(ctx, tx) }
	if time.Since(w.answered) < trusted {
		if err := w.inDestination(ctx, work); err == nil || !w.passes(err) {
			return err
		}
		w.answered = time.Time{}
	}
	if err := w.reconnectDestination(ctx); err != nil {
		return err
	}
	return w.inDestination(ctx, work)
}

func (w *worker) inDestination(ctx context.Context, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, w.destination.Conn, f)
}

// advise says what a run lacked: a right, or the path of a view's function.
func (w *worker) advise(err error) error {
	var source *extractError
	atSource := errors.As(err, &source)
	if advice := pathAdvice(err); atSource && advice != "" {
		return postgres.Advise(err, advice+".")
	}
	if postgres.Code(err) != "42501" || postgres.IsUnreachable(err) {
		return err
	}
	switch {
	case atSource && postgres.IsRowSecurity(err):
		return postgres.Advise(err, "Row-level security would leave rows out, and nobody would notice. Leave the table out, replicate what the login may see through a view of its own, "+
			"or have a superuser let the login of server "+w.definition.Source.Server+" see all rows: ALTER ROLE ... BYPASSRLS.")
	case postgres.IsRowSecurity(err):
		return postgres.Advise(err, "Row-level security would hide loaded rows from the load. Let the owner of the table see all of them: ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")
	case atSource:
		return postgres.Advise(err, "The login of server "+w.definition.Source.Server+
			" needs USAGE on the schema and SELECT on the table: stitch_source_grants grants both.")
	}
	return postgres.Advise(err, "The login of server "+w.definition.Destination.Server+
		" needs CREATE and TEMPORARY on the database, which stitch_destination_grants grants, and must own the tables that it loads.")
}
