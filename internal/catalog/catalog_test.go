package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// connect opens a session in the database, as a role or, without one, as superuser.
func connect(t *testing.T, s *sandbox.Server, database, role string) *pgx.Conn {
	t.Helper()
	url := s.URL(database)
	if role != "" {
		url = s.URLAs(role, database)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func inTx(t *testing.T, conn *pgx.Conn, f func(pgx.Tx) error) {
	t.Helper()
	if err := pgx.BeginFunc(t.Context(), conn, f); err != nil {
		t.Fatal(err)
	}
}

func install(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	inTx(t, conn, func(tx pgx.Tx) error { return Install(t.Context(), tx) })
}

// Many sessions that install at the same time make one catalog.
func TestInstall(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database := s.Database(t)
		if err := OpenSession(t.Context(), connect(t, s, database, "")); !errors.Is(err, ErrNoCatalog) {
			t.Errorf("before: %v", err)
		}
		var group sync.WaitGroup
		for range 5 {
			conn := connect(t, s, database, "")
			group.Go(func() {
				if err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return Install(t.Context(), tx) }); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := s.Query(t, database, `SELECT version FROM _stitch.version`); len(got) != 1 || got[0] != "1" {
			t.Errorf("version %q", got)
		}
	})
}

// Install does not take over, without its lock, a catalog that another session has created in
// the meantime: creating it fails, and Install tries again from the beginning.
func TestCreatedMeanwhile(t *testing.T) {
	s := sandbox.Shared(t, 0)
	conn := connect(t, s, s.Database(t), "")
	install(t, conn)
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return create(t.Context(), tx) })
	if !isInterference(err) {
		t.Errorf("got %v", err)
	}
}

// What is written is read back, and is deleted with its replication.
func TestRoundTrip(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		ctx := t.Context()
		conn := connect(t, s, s.Database(t), "")
		install(t, conn)
		run := "11111111-2222-3333-4444-555555555555"
		key := "it's \\ 2026"
		total := int64(10)
		bookmark := Bookmark{
			TableName: "orders", Method: "INCREMENTAL", ReplicationKey: "at", Bookmark: &key, KeyType: "text", Run: run,
			Horizon: Horizon{Snapshot: "5:7:5", At: 1800000000, Clock: "2026-01-01 00:00:00+00", Timeline: 3, PastBookmarks: []PastBookmark{{At: 1, Bookmark: key}}, Open: []string{"3/4"}, OpenSnapshot: "1:2:"},
		}
		table := LoadedTable{
			TableName: "orders", SourceTable: "public.orders", Status: Copying, TableVersion: 1 << 60, Columns: []string{"id", `a "b", c`}, Attributes: []int{1, 0},
			Source: "7/16384", SourceOID: 4000000000, SourceColumns: 1600, SourcePartitions: map[uint32]string{1: "2 3", 4000000000: ""},
			Position: Position{LSN: 1 << 62, Timeline: 7, History: "1 0/8", Transaction: 1 << 40, Started: "2026-01-01", Rows: []RememberedRow{{Table: 1, File: 2, Place: "(3,4)", Transaction: 1 << 40}}, Commits: []Commit{{1 << 62, 1 << 60}}},
			Meaning:  map[string]string{"label 7": key},
		}
		report := Report{
			SourceTable: "public.orders", TableName: "orders", Status: Failed, Method: "INCREMENTAL", RowsExtracted: 1 << 40,
			RowsLoaded: 2, Bytes: 3, ReplicationKey: "at", Bookmark: key, Duration: 90 * time.Minute, NullKeys: 4, Changes: []string{"one", "two"}, Notes: []string{"three"}, Verification: "the same", Error: "line one\nline two",
		}
		inTx(t, conn, func(tx pgx.Tx) error {
			id, err := InsertReplication(ctx, tx, Replication{SchemaName: "shop", Definition: json.RawMessage(`{"a":1}`)})
			if err != nil {
				return err
			}
			bookmark.Replication, table.Replication = id, id
			return send(ctx, tx, func(batch *pgx.Batch) {
				QueueStart(batch, id, &Run{ID: run})
				QueueLoadedTable(batch, table, "_stitch.report", Growth{Rows: 5, Total: &total})
				QueueLoadedTable(batch, table, "_stitch.report", Growth{Rows: -2, Changed: true})
				QueueStorage(batch, id, table.TableName, "_stitch.report")
				QueueBookmark(batch, bookmark)
				QueueBookmark(batch, bookmark)
				QueueReport(batch, run, report)
				QueueReport(batch, run, report)
			})
		})
		inTx(t, conn, func(tx pgx.Tx) error {
			var gotBookmark, never *Bookmark
			var gotTable *LoadedTable
			var rows, sequence int64
			err := tx.QueryRow(ctx, `
				SELECT c.oid, c.relfilenode, 8, (SELECT t.last_sequence FROM _stitch.loaded_table AS t)
				FROM pg_catalog.pg_class AS c
				WHERE c.oid = '_stitch.report'::pg_catalog.regclass`).Scan(&table.OID, &table.File, &rows, &sequence)
			if err != nil || sequence == 0 {
				t.Errorf("the greatest sequence is %d, %v", sequence, err)
			}
			table.Rows, table.Sequence = &rows, &sequence
			err = send(ctx, tx, func(batch *pgx.Batch) {
				QueueBookmarkOf(batch, bookmark.Replication, "orders", &gotBookmark)
				QueueBookmarkOf(batch, bookmark.Replication, "other", &never)
				QueueLoadedTableOf(batch, bookmark.Replication, "orders", &gotTable)
			})
			if err != nil || !reflect.DeepEqual(gotTable, &table) {
				t.Errorf("loaded table %+v, %v\nwant %+v", gotTable, err, table)
			}
			if err != nil || !reflect.DeepEqual(gotBookmark, &bookmark) {
				t.Errorf("bookmark %+v, %v\nwant %+v", gotBookmark, err, bookmark)
			}
			if never != nil {
				t.Errorf("a table that was never loaded: %v", never)
			}
			reports, err := Reports(ctx, tx, run)
			if err != nil || !reflect.DeepEqual(reports, []Report{report}) {
				t.Errorf("reports %+v, %v\nwant %+v", reports, err, report)
			}
			if names, err := LoadedTables(ctx, tx, bookmark.Replication); err != nil || len(names) != 1 {
				t.Errorf("loaded tables %q, %v", names, err)
			}
			if names, err := ReadyTables(ctx, tx, bookmark.Replication); err != nil || len(names) != 0 {
				t.Errorf("tables that have been whole: %q, %v", names, err)
			}
			if _, err := LatestRun(ctx, tx, bookmark.Replication+1); !errors.Is(err, ErrNotFound) {
				t.Errorf("a run that never was: %v", err)
			}
			return DropIfEmpty(ctx, tx)
		})
		inTx(t, conn, func(tx pgx.Tx) error {
			return errors.Join(DeleteReplication(ctx, tx, bookmark.Replication), DropIfEmpty(ctx, tx))
		})
		if err := OpenSession(ctx, conn); !errors.Is(err, ErrNoCatalog) {
			t.Errorf("after the last replication: %v", err)
		}
	})
}

// When a run starts, earlier runs without a recorded end were interrupted.
func TestQueueStart(t *testing.T) {
	s := sandbox.Shared(t, 0)
	conn := connect(t, s, s.Database(t), "")
	install(t, conn)
	inTx(t, conn, func(tx pgx.Tx) error {
		id, err := InsertReplication(t.Context(), tx, Replication{SchemaName: "shop", Definition: json.RawMessage(`{}`)})
		if err != nil {
			return err
		}
		for _, run := range []string{"00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"} {
			if err := send(t.Context(), tx, func(batch *pgx.Batch) { QueueStart(batch, id, &Run{ID: run}) }); err != nil {
				return err
			}
		}
		var status string
		var completed bool
		if err := tx.QueryRow(t.Context(), "SELECT status, completed_at IS NOT NULL FROM _stitch.run WHERE id = '00000000-0000-0000-0000-000000000001'").Scan(&status, &completed); err != nil || status != Interrupted || !completed {
			t.Errorf("the first run is %s, completed: %v, %v", status, completed, err)
		}
		latest, err := LatestRun(t.Context(), tx, id)
		if err != nil || latest.Status != Running || latest.ID != "00000000-0000-0000-0000-000000000002" {
			t.Errorf("the latest run is %+v, %v", latest, err)
		}
		return nil
	})
}

// The catalog belongs to one role. Other logins act as that role, or get an error that names
// it.
func TestOwner(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, member, stranger := s.Database(t), s.Role(t), s.Role(t), s.Role(t)
		s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner+"; GRANT "+owner+" TO "+member)
		install(t, connect(t, s, database, owner))

		conn := connect(t, s, database, member)
		inTx(t, conn, func(tx pgx.Tx) error {
			if err := Open(t.Context(), tx); err != nil {
				return err
			}
			_, err := InsertReplication(t.Context(), tx, Replication{SchemaName: "shop", Definition: json.RawMessage(`{}`)})
			return err
		})
		var role string
		if err := conn.QueryRow(t.Context(), "SELECT current_user").Scan(&role); err != nil || role != member {
			t.Errorf("after the transaction the session acts as %q, %v", role, err)
		}
		err := OpenSession(t.Context(), connect(t, s, database, stranger))
		if err == nil || !strings.Contains(err.Error(), `belongs to "`+owner+`", and the login "`+stranger) {
			t.Errorf("a stranger: %v", err)
		}
	})
}

// send sends a batch that fill has filled.
func send(ctx context.Context, tx pgx.Tx, fill func(*pgx.Batch)) error {
	batch := &pgx.Batch{}
	fill(batch)
	return tx.SendBatch(ctx, batch).Close()
}
