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
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A snapshot is a transaction that reads one table of the source, until it is closed.
type snapshot struct {
	tx      pgx.Tx
	session sourceSession
	facts   sourceFacts

	began, ended time.Time   // ended is zero while the snapshot is held
	stopLimit    func() bool // stops the age limit, once the snapshot has ended
}

// sourceFacts are what the source says of a table in a snapshot.
type sourceFacts struct {
	table    relation.Table
	storage  storage
	info     snapshotInfo
	meaning  []meaningFact    // what decides what values read as
	position catalog.Position // of the source's history
	major    int              // of the server
	unlocked bool             // whether partitions are not locked, see samePartitions
}

// A snapshotRequest says what to take a snapshot of.
type snapshotRequest struct {
	table   relation.TableName
	kind    relation.RelationKind
	meaning meaningQuestion
	open    *openTransactions                        // from before the snapshot; nil if the run did not read them
	limit   func(began time.Time) (stop func() bool) // limits the age of the snapshot
}

// openSnapshot starts a snapshot of the source. It locks the table first, with its
// partitions, or the tables that a view reads. So the structure that it reads is that of the
// rows, and no TRUNCATE or rewrite, from which a snapshot does not protect, can empty the
// tables. If privileges or PostgreSQL 10 do not allow it to lock a view, it reads without the
// lock. If privileges or the size of the server's lock table do not allow it to lock
// partitions, the run checks them again at the end. A login that may read only some columns
// locks the table by reading it.
func openSnapshot(ctx context.Context, session sourceSession, r snapshotRequest) (*snapshot, error) {
	name, kind := r.table, r.kind
	locks := []string{""}
	switch {
	case kind.HasKeys():
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", "LOCK TABLE ONLY " + name.SQL() + " IN ACCESS SHARE MODE", "SELECT FROM ONLY " + name.SQL() + " LIMIT 0"}
	case kind == relation.View && pgclient.Version(session.Conn) >= 11:
		locks = []string{"LOCK TABLE " + name.SQL() + " IN ACCESS SHARE MODE", ""}
	case kind == relation.MaterializedView:
		// LOCK does not accept a materialized view, and reading locks it the same way. The snapshot
		// is older than that lock, but sees what a REFRESH between the two has written.
		locks = []string{"SELECT FROM " + name.SQL() + " LIMIT 0"}
	}
	whole := locks[0]
	if kind == relation.PartitionedTable {
		many, err := hasManyPartitions(ctx, session, name)
		if err != nil {
			return nil, err
		}
		if many {
			locks = locks[1:]
		}
	}
	var s *snapshot
	err := inTurns(ctx, lockPatience, func() (err error) {
		for _, lock := range locks {
			for range openAttempts {
				if s, err = beginSnapshot(ctx, session, r, lock, lock == whole); !errors.Is(err, errChangedMeanwhile) {
					break
				}
			}
			if code := pgclient.Code(err); code != pgclient.InsufficientPrivilege && code != outOfLocks {
				break
			}
		}
		return err
	})
	if pgclient.Code(err) == pgclient.LockNotAvailable {
		err = &heldError{nameHolders(ctx, session, name, false, err)}
	}
	if err != nil {
		return nil, err
	}
	s.stopLimit = r.limit(s.began)
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

func hasManyPartitions(ctx context.Context, session sourceSession, name relation.TableName) (many bool, err error) {
	err = session.read(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, manyPartitionsSQL, name.SQL()).Scan(&many) })
	if err != nil {
		return false, fmt.Errorf("count the partitions of %s: %w", name, err)
	}
	return many, nil
}

// outOfLocks is the SQLSTATE of a lock table that is full.
const outOfLocks = pgclient.OutOfMemory

// openAttempts is how many times a run opens a snapshot of a table that keeps changing.
const openAttempts = 5

// errChangedMeanwhile says that a table changed between a snapshot and its lock.
var errChangedMeanwhile = errors.New("the table was changed while it was opened")

func beginSnapshot(ctx context.Context, session sourceSession, r snapshotRequest, lock string, whole bool) (*snapshot, error) {
	tx, err := session.begin(ctx, pgx.RepeatableRead)
	if err != nil {
		return nil, err
	}
	s := &snapshot{tx: tx, session: session, began: time.Now()}
	if s.facts, err = readFacts(ctx, session, tx, r, lock); err != nil {
		rollback(ctx, tx)
		return nil, err
	}
	s.facts.unlocked = !whole && r.kind.HasKeys() && !slices.Equal(s.facts.storage.leaves, []uint32{s.facts.table.OID})
	return s, nil
}

// readFacts locks the table, and then reads what the snapshot says of it in one round trip.
func readFacts(ctx context.Context, session sourceSession, tx pgx.Tx, r snapshotRequest, lock string) (sourceFacts, error) {
	if lock != "" { // before statements that read, which take the snapshot
		if _, err := tx.Exec(ctx, lock); err != nil {
			return sourceFacts{}, fmt.Errorf("read %s: %w", r.table, err)
		}
	}
	f := sourceFacts{major: pgclient.Version(session.Conn)}
	var tables map[relation.TableName]relation.Table
	err := pgclient.Send(ctx, tx, "read the structure of "+r.table.String(), func(batch *pgx.Batch) {
		session.queuePinsCheck(batch)
		relation.QueueTables(batch, f.major, []relation.TableName{r.table}, &tables)
		queueStorage(batch, r.table, &f.storage, &f.info)
		queueMeaning(batch, f.major, r.table, r.meaning, &f.meaning)
		session.queuePosition(batch, &f.position)
	})
	if err != nil {
		return sourceFacts{}, err
	}
	_, f.position.Transaction, _ = bounds(f.info.snapshot)
	table, ok := tables[r.table]
	if strings.HasPrefix(lock, "SELECT") && (!ok || table.Kind.HasKeys()) {
		if err := checkUnchanged(ctx, tx, table, r.table, f.storage); err != nil {
			return sourceFacts{}, err
		}
	}
	if !ok {
		return sourceFacts{}, fmt.Errorf("%s does not exist any more", r.table)
	}
	f.table = table
	f.storage, f.info = visible(table.Kind, f.storage, f.info)
	f.info.timeline, f.info.open = session.identity.timeline, r.open
	if r.meaning == askOrder && f.meansMore() {
		err = pgclient.Send(ctx, tx, "read what values of "+r.table.String()+" depend on", func(batch *pgx.Batch) {
			queueMeaning(batch, f.major, r.table, askAll, &f.meaning)
		})
	}
	return f, err
}

// visible returns what can be known of the rows of a relation of that kind: some kinds do not
// tell which transaction wrote a row.
func visible(kind relation.RelationKind, s storage, info snapshotInfo) (storage, snapshotInfo) {
	info.files = s.files
	if !kind.HasKeys() {
		info.files = nil // each REFRESH rewrites a materialized view
	}
	switch {
	case !kind.HasKeys() && kind != relation.MaterializedView:
		return storage{}, snapshotInfo{hidden: "rows of a view or foreign table do not tell which transaction wrote them"}
	case !s.readable:
		s.isHeap = false
		info = snapshotInfo{hidden: "the login may not read which transaction wrote a row: grant it SELECT on the table, or GRANT SELECT (xmin, ctid, tableoid)", files: info.files}
	case !s.isHeap:
		info = snapshotInfo{hidden: "the table, or a part of it, is not stored as PostgreSQL's own are", files: info.files}
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
func checkUnchanged(ctx context.Context, tx pgx.Tx, table relation.Table, name relation.TableName, s storage) error {
	files := make([]uint32, len(s.leaves))
	for i, leaf := range s.leaves {
		files[i] = s.files[leaf]
	}
	var unchanged bool
	err := tx.QueryRow(ctx, unchangedSQL, name.SQL(), table.OID, s.leaves, files, name.Schema, name.Name).Scan(&unchanged)
	if err == nil && !unchanged {
		err = errChangedMeanwhile
	}
	return err
}

// samePartitions reports whether the rows that were read are those that the snapshot shows,
// although some partitions were not locked. No partition may be gone, or stored in another
// file, and none may have come if several sessions have read. It ends the snapshot first:
// statements see the current partitions, but what a transaction reads from the catalog is as
// old as its snapshot.
func (s *snapshot) samePartitions(ctx context.Context, several bool) (bool, error) {
	s.close(ctx)
	before, now := s.facts.storage, storage{}
	name := s.facts.table.Name
	err := s.session.read(ctx, func(tx pgx.Tx) error {
		return pgclient.Send(ctx, tx, "read the partitions of "+name.String()+" again", func(batch *pgx.Batch) { queueStorage(batch, name, &now, &snapshotInfo{}) })
	})
	for leaf, file := range before.files {
		if found, ok := now.files[leaf]; !ok || now.attached[leaf] != before.attached[leaf] || s.facts.unlocked && found != file {
			return false, err
		}
	}
	return !several || len(now.files) == len(before.files), err
}

// export lets other sessions read in the snapshot, by the name that it returns, for as long
// as the snapshot is held.
func (s *snapshot) export(ctx context.Context) (name string, err error) {
	if err := s.tx.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&name); err != nil {
		return "", fmt.Errorf("share the snapshot: %w", err)
	}
	return name, nil
}

// close ends the snapshot. The transaction wrote nothing, so a failure loses nothing.
func (s *snapshot) close(ctx context.Context) {
	if s.ended.IsZero() {
		rollback(ctx, s.tx)
		s.ended = time.Now()
		s.stopLimit()
	}
}

// held is how long the snapshot was held, or has been held by now, as precisely as the
// catalog keeps it.
func (s *snapshot) held() time.Duration {
	if s.ended.IsZero() {
		return elapsed(s.began)
	}
	return s.ended.Sub(s.began).Truncate(time.Millisecond)
}

// elapsed returns the time since then, as precisely as the catalog keeps it.
func elapsed(since time.Time) time.Duration { return time.Since(since).Truncate(time.Millisecond) }
