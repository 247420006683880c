package syncrun

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// XML arrives byte for byte, with the declaration that its output function leaves out, and a
// checksum sees the declaration.
func TestXML(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.runs.Verify = tablesync.VerifyChecksum
		e.atSource(t, `CREATE DOMAIN doc AS xml;
			CREATE TABLE t (id int PRIMARY KEY, x xml, d doc, a xml[]);
			INSERT INTO t VALUES (1, '<?xml version="1.0"?><a/>', '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>', ARRAY['<?xml version="1.0"?><a/>', NULL, '<?xml version="1.1" standalone="yes"?><b/>']::xml[]);
			INSERT INTO t VALUES (2, ' <a/> text', NULL, '{}'), (3, '', NULL, NULL);
			CREATE TABLE bag (x xml, n int NOT NULL); INSERT INTO bag VALUES ('<a/>', 1);
			CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.bag"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables["public.later"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "id"}
		e.create(t)
		e.run(t)
		e.wantSame(t, "t")
		e.atSource(t, `UPDATE t SET x = '<?xml version="1.0"?><a/>' WHERE id = 3; UPDATE bag SET x = '<?xml version="1.0"?><a/>';
			ALTER TABLE later ADD COLUMN x xml DEFAULT '<?xml version="1.0"?><a/>'; INSERT INTO later VALUES (2, '<?xml version="1.0"?><b/>')`)
		e.run(t)
		for _, table := range []string{"t", "bag", "later"} {
			e.wantSame(t, table)
		}
	})
}

// XML within a composite type arrives as PostgreSQL writes it, and so does the composite; XML
// in a domain over arrays arrives byte for byte. Where that is impossible, the run refuses
// it.
func TestXMLWithin(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TYPE page AS (x xml, n int); CREATE DOMAIN docs AS xml[];
			CREATE TABLE t (id int PRIMARY KEY, p page, ps page[], d docs);
			INSERT INTO t VALUES (1, ROW('<?xml version="1.0"?><a/>', 1), ARRAY[ROW('<a/>', 1)]::page[], ARRAY['<?xml version="1.0"?><a/>', '<b/>']::xml[])`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		if s.Major >= 11 {
			e.atSource(t, `CREATE DOMAIN doc AS xml; CREATE TABLE refused (id int PRIMARY KEY, v doc[])`)
			e.definition.Tables["public.refused"] = definition.Selection{Method: definition.FullTable}
			problems, _, err := replication.CheckSource(t.Context(), e.sourceEndpoint(t), e.definition)
			if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, `column "v" is an array of a domain over xml`) {
				t.Errorf("problems %v, %v", problems, err)
			}
		}
		e.create(t)
		run, _ := e.tryRun(t.Context())
		for _, r := range run.Tables {
			if want := map[string]string{"public.t": "succeeded", "public.refused": "failed"}[r.SourceTable]; r.Status != want {
				t.Errorf("%s: %s, %q", r.SourceTable, r.Status, r.Error)
			}
		}
		e.wantRows(t, "SELECT p, ps, d::text[] FROM shop.t", s.Query(t, e.sourceDatabase, "SELECT p, ps::text, d::xml[]::text[] FROM t")...)
	})
}

// A checksum is the same whatever encodings the servers have, and however many digits of
// floats they write.
func TestChecksumOfOtherServers(t *testing.T) {
	t.Parallel()
	for _, source := range oldestAndNewest(t) {
		for _, destination := range oldestAndNewest(t) {
			e := newEnv(t, source, destination)
			e.sourceDatabase = ownEncoding(t, source, "LATIN1")
			e.definition.Source.Database = e.sourceDatabase
			e.atSource(t, `CREATE TYPE pair AS (f float8, t text); CREATE TYPE floats AS RANGE (subtype = float8);
				CREATE TABLE t (id int PRIMARY KEY, v text, f float8, r real, p pair, fs float8[], range floats);
				INSERT INTO t VALUES (1, 'Größe', 0.1, 0.3, (0.1::float8 + 0.2, 'Größe '), '{0.1,NULL}', '[0.30000000000000004,1)'), (2, NULL, 'NaN', NULL, NULL, NULL, NULL);
				CREATE TABLE bag (f float8, p pair, v text); INSERT INTO bag SELECT f, p, v FROM t`)
			e.atSource(t, `GRANT SELECT ON t, bag TO `+e.reader)
			e.runs.Verify = tablesync.VerifyChecksum
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
			e.definition.Tables["public.bag"] = definition.Selection{Method: definition.FullTable}
			e.create(t)
			for range 2 {
				for _, table := range []string{"public.t", "public.bag"} {
					if got := report(e.run(t), table).Verification; got != "the same by checksum: 2 rows" {
						t.Errorf("%s of postgres%d to postgres%d: %q", table, source.Major, destination.Major, got)
					}
				}
			}
		}
	}
}

// A verification tells rows that are missing in the destination from those that INCREMENTAL
// keeps. Missing rows fail the load if the method promises them.
func TestVerifyTellsRowsApart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, source, destination string
		verify, want, fails       string
	}{
		{"kept", `DELETE FROM t WHERE id = 5`, ``, tablesync.VerifyCount,
			"different by count: rows of the destination that the source does not have, which INCREMENTAL keeps: 1", ""},
		{"came too late", `INSERT INTO t SELECT 100 + i, now() - interval '30 days', '' FROM generate_series(1, 44) AS i; DELETE FROM t WHERE id = 5`, ``, tablesync.VerifyCount,
			"different by count: rows of the source that are missing in the destination, because they were committed with a replication key before the late-commit window, or without one: 44; " +
				"rows of the destination that the source does not have, which INCREMENTAL keeps: 1", ""},
		{"lost", ``, `DELETE FROM shop.t WHERE id > 7`, tablesync.VerifyCount, "", "(rows of the source that are missing in the destination: 3). Nothing was committed."},
		{"as many as are kept", `DELETE FROM t WHERE id = 5`, `DELETE FROM shop.t WHERE id = 9`, tablesync.VerifyChecksum, "",
			"(rows of the source that are missing in the destination: 1; rows of the destination that the source does not have: 1). Nothing was committed."},
		{"changed", `UPDATE t SET v = 'b' WHERE id = 1`, ``, tablesync.VerifyChecksum,
			"different by checksum: rows with other values, because they were changed without a later replication key: 1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, sandbox.Shared(t, 0), sandbox.Shared(t, 0))
			e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text);
				INSERT INTO t SELECT i, now() - CASE WHEN i = 1 THEN interval '20 days' ELSE interval '1 hour' END, 'a' FROM generate_series(1, 10) AS i`)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.Incremental, ReplicationKey: "at"}
			e.create(t)
			e.run(t)
			e.atSource(t, tt.source)
			e.atDestination(t, tt.destination)
			e.runs.Verify = tt.verify
			run, err := e.tryRun(t.Context())
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("%v, want %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(pgclient.Explain(err))
			}
			if got := report(run, "public.t").Verification; got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}
