package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
)

// A Snapshot is a transaction that reads one table of the source, until it is closed.
type Snapshot struct {
	Tx      pgx.Tx
	Session Session
	Facts   Facts

	Began, ended time.Time   // ended is zero while the snapshot is held
	stopLimit    func() bool // stops the age limit, once the snapshot has ended
}

// Facts are what the source says of a table in a snapshot.
type Facts struct {
	Table    relation.Table
	Storage  Storage
	Info     SnapshotInfo
	meaning  []meaningFact    // what decides what values read as
	Position catalog.Position // of the source's history
	Major    int              // of the server
	Unlocked bool             // whether partitions are not locked, see SamePartitions
}

// A SnapshotRequest says what to take a snapshot of.
type SnapshotRequest struct {
	Table   relation.TableName
	Kind    relation.RelationKind
	Meaning MeaningQuestion
	Open    *OpenTransactions                        // from before the snapshot; nil if the run did not read them
	Limit   func(began time.Time) (stop func() bool) // limits the age of the snapshot
}

// OpenSnapshot starts a snapshot of the source. It locks the table first, with its
// partitions, or the tables that a view reads. So the structure that it reads is that of the
// rows, and no TRUNCATE or rewrite, from which a snapshot does not protect, can empty the
// tables. If privileges or PostgreSQL 10 do not allow it to lock a view, it reads without the
// lock. If privileges or the size of the server's lock table do not allow it to lock
// partitions, the run checks them again at the end. A login that may read only some columns
// locks the table by reading it.
func OpenSnapshot(ctx context.Context, at Session, r SnapshotRequest) (*Snapshot, error) {
	name, kind := r.Table, r.Kind
	locks := []string{""}
	switch {
	case kind.HasKeys():
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", "LOCK TABLE ONLY " + name.SQL() + " IN ACCESS SHARE MODE", "SELECT FROM ONLY " + name.SQL() + " LIMIT 0"}
	case kind == relation.View && pgclient.Version(at.Conn) >= 11:
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", ""}
	case kind == relation.MaterializedView:
		// LOCK does not accept a materialized view, and reading locks it the same way. The snapshot
		// is older than that lock, but sees what a REFRESH between the two has written.
		locks = []string{"SELECT FROM " + name.SQL() + " LIMIT 0"}
	}
	whole := locks[0]
	if kind == relation.PartitionedTable {
		many, err := hasManyPartitions(ctx, at, name)
		if err != nil {
			return nil, err
		}
		if many {
			locks = locks[1:]
		}
	}
	var s *Snapshot
	err := session.RetryLocked(ctx, session.MaxLockWait, func() (err error) {
		for _, lock := range locks {
			for range openAttempts {
				if s, err = beginSnapshot(ctx, at, r, lock, lock == whole); !errors.Is(err, errChangedMeanwhile) {
					break
				}
			}
			if code := pgclient.Code(err); code != pgclient.InsufficientPrivilege && code != OutOfLocks {
				break
			}
		}
		return err
	})
	if pgclient.Code(err) == pgclient.LockNotAvailable {
		err = &session.LockTimeoutError{Err: session.NameHolders(ctx, at, name, false, err)}
	}
	if err != nil {
		return nil, err
	}
	s.stopLimit = r.Limit(s.Began)
	return s, nil
}

// manyPartitionsSQL reports whether a table's partitions would take more than a tenth of the
// server's lock table, which other sessions need too.
const manyPartitionsSQL = `
	WITH RECURSIVE part AS (
		SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid
		UNION
		SELECT i.inhrelid
		FROM part
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
	)
	SELECT pg_catalog.count(*) > pg_catalog.current_setting('max_locks_per_transaction')::int * pg_catalog.current_setting('max_connections')::int / 10
	FROM part`

func hasManyPartitions(ctx context.Context, session Session, name relation.TableName) (many bool, err error) {
	err = session.Read(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, manyPartitionsSQL, name.SQL()).Scan(&many) })
	if err != nil {
		return false, fmt.Errorf("count the partitions of %s: %w", name, err)
	}
	return many, nil
}

// OutOfLocks is the SQLSTATE of a lock table that is full.
const OutOfLocks = pgclient.OutOfMemory

// openAttempts is how many times a run opens a snapshot of a table that keeps changing.
const openAttempts = 5

// errChangedMeanwhile says that a table changed between a snapshot and its lock.
var errChangedMeanwhile = errors.New("the table was changed while the run opened it")

func beginSnapshot(ctx context.Context, at Session, r SnapshotRequest, lock string, whole bool) (*Snapshot, error) {
	tx, err := at.begin(ctx, pgx.RepeatableRead)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Tx: tx, Session: at, Began: time.Now()}
	if s.Facts, err = readFacts(ctx, at, tx, r, lock); err != nil {
		session.Rollback(ctx, tx)
		return nil, err
	}
	s.Facts.Unlocked = !whole && r.Kind.HasKeys() && !slices.Equal(s.Facts.Storage.Leaves, []uint32{s.Facts.Table.OID})
	return s, nil
}

// readFacts locks the table, and then reads what the snapshot says of it in one round trip.
func readFacts(ctx context.Context, session Session, tx pgx.Tx, r SnapshotRequest, lock string) (Facts, error) {
	if lock != "" { // before statements that read, which take the snapshot
		if _, err := tx.Exec(ctx, lock); err != nil {
			return Facts{}, fmt.Errorf("read %s: %w", r.Table, err)
		}
	}
	f := Facts{Major: pgclient.Version(session.Conn)}
	var tables map[relation.TableName]relation.Table
	err := pgclient.Send(ctx, tx, "read the structure of "+r.Table.String(), func(batch *pgx.Batch) {
		session.queuePinsCheck(batch)
		relation.QueueTables(batch, f.Major, []relation.TableName{r.Table}, &tables)
		queueStorage(batch, r.Table, &f.Storage, &f.Info)
		queueMeaning(batch, f.Major, r.Table, r.Meaning, &f.meaning)
		session.queuePosition(batch, &f.Position)
	})
	if err != nil {
		return Facts{}, err
	}
	_, f.Position.Transaction, _ = bounds(f.Info.Snapshot)
	table, ok := tables[r.Table]
	if strings.HasPrefix(lock, "SELECT") && (!ok || table.Kind.HasKeys()) {
		if err := checkUnchanged(ctx, tx, table, r.Table, f.Storage); err != nil {
			return Facts{}, err
		}
	}
	if !ok {
		return Facts{}, fmt.Errorf("%s no longer exists", r.Table)
	}
	f.Table = table
	f.Storage, f.Info = visible(table.Kind, f.Storage, f.Info)
	f.Info.timeline, f.Info.open = session.Identity.timeline, r.Open
	if r.Meaning == askOrder && f.meansMore() {
		err = pgclient.Send(ctx, tx, "read what values of "+r.Table.String()+" depend on", func(batch *pgx.Batch) {
			queueMeaning(batch, f.Major, r.Table, askAll, &f.meaning)
		})
	}
	return f, err
}

// visible returns what can be known of the rows of a relation of that kind: some kinds do not
// tell which transaction wrote a row.
func visible(kind relation.RelationKind, s Storage, info SnapshotInfo) (Storage, SnapshotInfo) {
	info.Files = s.Files
	if !kind.HasKeys() {
		info.Files = nil // each REFRESH rewrites a materialized view
	}
	switch {
	case !kind.HasKeys() && kind != relation.MaterializedView:
		return Storage{}, SnapshotInfo{HiddenReason: "rows of a view or foreign table do not show which transaction wrote them"}
	case !s.Readable:
		s.IsHeap = false
		info = SnapshotInfo{HiddenReason: "the login is not allowed to read which transaction wrote a row: grant it SELECT on the table, or GRANT SELECT (xmin, ctid, tableoid)", Files: info.Files}
	case !s.IsHeap:
		info = SnapshotInfo{HiddenReason: "the table, or a part of it, is not stored in the format of PostgreSQL's own tables", Files: info.Files}
	}
	return s, info
}

// unchangedSQL compares what the snapshot holds of a table with the present, which the
// functions see: which table it is, where its rows are stored, and the names of its columns.
const unchangedSQL = `
	SELECT pg_catalog.to_regclass($1)::pg_catalog.oid IS NOT DISTINCT FROM nullif($2::pg_catalog.oid, 0)
		AND NOT EXISTS (
			SELECT
			FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.oid[]), pg_catalog.unnest($4::pg_catalog.oid[])) AS f (leaf, file)
			WHERE coalesce(pg_catalog.pg_relation_filenode(f.leaf), 0) <> f.file)
		AND NOT EXISTS (
			SELECT
			FROM pg_catalog.pg_attribute AS a
			WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped
				AND CASE WHEN pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') IS NULL THEN true
					ELSE (pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, a.attrelid, a.attnum)).identity
						<> pg_catalog.format('%I.%I.%I', $5::pg_catalog.text, $6::pg_catalog.text, a.attname) END)`

// checkUnchanged makes sure that the table was not changed between the snapshot and the lock,
// where the lock came second.
func checkUnchanged(ctx context.Context, tx pgx.Tx, table relation.Table, name relation.TableName, s Storage) error {
	files := make([]uint32, len(s.Leaves))
	for i, leaf := range s.Leaves {
		files[i] = s.Files[leaf]
	}
	var unchanged bool
	err := tx.QueryRow(ctx, unchangedSQL, name.SQL(), table.OID, s.Leaves, files, name.Schema, name.Name).Scan(&unchanged)
	if err == nil && !unchanged {
		err = errChangedMeanwhile
	}
	return err
}

// SamePartitions reports whether the rows that were read are those that the snapshot shows,
// although some partitions were not locked. No partition may be gone, or stored in another
// file, and none may have come if several sessions have read. It ends the snapshot first:
// statements see the current partitions, but what a transaction reads from the catalog is as
// old as its snapshot.
func (s *Snapshot) SamePartitions(ctx context.Context, several bool) (bool, error) {
	s.Close(ctx)
	before, now := s.Facts.Storage, Storage{}
	name := s.Facts.Table.Name
	err := s.Session.Read(ctx, func(tx pgx.Tx) error {
		return pgclient.Send(ctx, tx, "read the partitions of "+name.String()+" again", func(batch *pgx.Batch) { queueStorage(batch, name, &now, &SnapshotInfo{}) })
	})
	for leaf, file := range before.Files {
		if found, ok := now.Files[leaf]; !ok || now.Attached[leaf] != before.Attached[leaf] || s.Facts.Unlocked && found != file {
			return false, err
		}
	}
	return !several || len(now.Files) == len(before.Files), err
}

// Export lets other sessions read in the snapshot, by the name that it returns, for as long
// as the snapshot is held.
func (s *Snapshot) Export(ctx context.Context) (name string, err error) {
	if err := s.Tx.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&name); err != nil {
		return "", fmt.Errorf("export the snapshot: %w", err)
	}
	return name, nil
}

// Close ends the snapshot. The transaction wrote nothing, so a failure loses nothing.
func (s *Snapshot) Close(ctx context.Context) {
	if s.ended.IsZero() {
		session.Rollback(ctx, s.Tx)
		s.ended = time.Now()
		s.stopLimit()
	}
}

// Age is how long the snapshot was held, or has been held by now, as precisely as the
// catalog keeps it.
func (s *Snapshot) Age() time.Duration {
	if s.ended.IsZero() {
		return Elapsed(s.Began)
	}
	return s.ended.Sub(s.Began).Truncate(time.Millisecond)
}

// Elapsed returns the time since then, as precisely as the catalog keeps it.
func Elapsed(since time.Time) time.Duration { return time.Since(since).Truncate(time.Millisecond) }
