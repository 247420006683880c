package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// tripwiresSQL creates functions that leave a mark which no rollback removes, and objects
// that use them. They belong to a role without special privileges.
const tripwiresSQL = `
	CREATE SCHEMA evil;
	GRANT USAGE ON SCHEMA evil TO PUBLIC;
	CREATE SEQUENCE evil.ran;
	GRANT ALL ON SEQUENCE evil.ran TO PUBLIC;
	CREATE FUNCTION evil.yes() RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT nextval('evil.ran') > 0 $$;
	CREATE FUNCTION evil.number() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN 1; END $$;
	CREATE FUNCTION evil.number(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN 1; END $$;
	CREATE FUNCTION evil.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN CASE tg_op WHEN 'DELETE' THEN old ELSE new END; END $$;
	CREATE FUNCTION evil.same(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT nextval('evil.ran') > 0 $$;
	CREATE OPERATOR evil.=== (LEFTARG = int, RIGHTARG = int, PROCEDURE = evil.same, COMMUTATOR = OPERATOR(evil.===));
	CREATE DOMAIN evil.checked AS int CHECK (evil.number(VALUE::text) > 0);
	CREATE TABLE evil.parent ();`

// An attack is something that another role may have done to a catalog. Where it says {t}, it
// is tried on each of its tables; {m} is the attacker.
var attacks = []struct {
	name, sql, want string
	since           int // major version
}{
	{"a trigger", `CREATE TRIGGER planted BEFORE INSERT OR UPDATE OR DELETE ON {t} FOR EACH ROW EXECUTE PROCEDURE evil.fire()`, `trigger planted on {t}`, 0},
	{"a trigger of statements", `CREATE TRIGGER planted AFTER INSERT OR UPDATE OR DELETE ON {t} FOR EACH STATEMENT EXECUTE PROCEDURE evil.fire()`, `trigger planted on {t}`, 0},
	{"a constraint trigger", `CREATE CONSTRAINT TRIGGER planted AFTER INSERT OR UPDATE OR DELETE ON {t} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE PROCEDURE evil.fire()`, `trigger planted on {t}`, 0},
	{"a rule", `CREATE RULE planted AS ON DELETE TO {t} DO ALSO SELECT evil.yes()`, `rule planted on {t}`, 0},
	{"a policy", `ALTER TABLE {t} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY planted ON {t} USING (evil.number() = 1) WITH CHECK (evil.number() = 1)`, `policy planted on {t}`, 0},
	{"row security without a policy", `ALTER TABLE {t} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`, `: kind table with row security with forced row security`, 0},
	{"a check", `ALTER TABLE {t} ADD CHECK (evil.number() = 1) NOT VALID`, `constraint CHECK ((evil.number() = 1)) NOT VALID`, 0},
	{"an operator", `ALTER TABLE {t} ADD CHECK (1 OPERATOR(evil.===) 1) NOT VALID`, `operator evil.===(integer,integer)`, 0},
	{"an index on an expression", `CREATE INDEX ON {t} (evil.number())`, `function evil.number()`, 0},
	{"a partial index", `CREATE INDEX ON {t} ((1)) WHERE evil.number() = 1`, `function evil.number()`, 0},
	{"an exclusion constraint", `ALTER TABLE {t} ADD EXCLUDE ((evil.number()) WITH =) WHERE (false)`, `constraint EXCLUDE USING btree`, 0},
	{"a column with a default", `ALTER TABLE {t} ADD planted int; ALTER TABLE {t} ALTER planted SET DEFAULT evil.number()`, `column planted pg_catalog.int4 default evil.number()`, 0},
	{"a generated column", `ALTER TABLE {t} ADD planted int GENERATED ALWAYS AS (evil.number()) STORED`, `column planted pg_catalog.int4 generated default evil.number()`, 12},
	{"a column of a domain", `ALTER TABLE {t} ADD planted evil.checked`, `column planted evil.checked`, 0},
	{"a child", `CREATE TABLE evil.child () INHERITS ({t}); CREATE TRIGGER planted BEFORE UPDATE OR DELETE ON evil.child FOR EACH ROW EXECUTE PROCEDURE evil.fire()`, `table evil.child`, 0},
	{"a parent", `ALTER TABLE {t} INHERIT evil.parent`, `table evil.parent`, 0},
	{"statistics on an expression", `CREATE STATISTICS evil.planted ON (evil.number()) FROM {t}`, `statistics object evil.planted`, 14},
	{"another owner", `ALTER TABLE {t} OWNER TO {m}`, `: kind table of {m}`, 0},
	{"what a crash empties", `ALTER TABLE _stitch.version SET UNLOGGED; ALTER TABLE _stitch.bookmark SET UNLOGGED`, `: kind unlogged table`, 0},
	{"a view", `DROP TABLE {t} CASCADE; CREATE VIEW {t} AS SELECT evil.number() AS version`, `: kind view`, 0},
	{"a materialized view", `DROP TABLE {t} CASCADE; CREATE MATERIALIZED VIEW {t} AS SELECT 1 AS version`, `: kind materialized view`, 0},
	{"a partitioned table", `DROP TABLE {t} CASCADE; CREATE TABLE {t} (version int) PARTITION BY LIST (version)`, `: kind table`, 0},
	{"a foreign table", `DROP TABLE {t} CASCADE; CREATE FOREIGN DATA WRAPPER evil; CREATE SERVER evil FOREIGN DATA WRAPPER evil; CREATE FOREIGN TABLE {t} (version int) SERVER evil`, `: kind foreign table`, 0},
	{"a table that is gone", `DROP TABLE {t} CASCADE`, `: kind table`, 0},
	{"a grant", `GRANT UPDATE ON {t} TO {m}`, `REVOKE UPDATE ON TABLE {t} FROM {m}`, 0},
	{"a right to plant triggers", `GRANT TRIGGER ON {t} TO PUBLIC`, `REVOKE TRIGGER ON TABLE {t} FROM PUBLIC`, 0},

	{"a version that is computed", `DROP TABLE _stitch.version; CREATE VIEW _stitch.version AS SELECT evil.number() AS version`, `version: kind view`, 0},
	{"a key that refers to it", `CREATE TABLE evil.child (id bigint REFERENCES _stitch.replication ON DELETE CASCADE)`, `child_id_fkey on evil.child`, 0},
	{"a column of another type", `ALTER TABLE _stitch.report ALTER bytes TYPE evil.checked`, `column bytes evil.checked not null`, 0},
	{"a column that takes nulls", `ALTER TABLE _stitch.report ALTER bytes DROP NOT NULL`, `column bytes pg_catalog.int8 not null`, 0},
	{"another default", `ALTER TABLE _stitch.replication ALTER created_at SET DEFAULT evil.number()::text::timestamptz`, `default ((evil.number())::text)::timestamp with time zone`, 0},
	{"a key that is gone", `ALTER TABLE _stitch.report DROP CONSTRAINT report_pkey`, `constraint PRIMARY KEY (run, source_table)`, 0},
	{"another grant", `GRANT UPDATE (bookmark) ON _stitch.bookmark TO {m}`, `REVOKE UPDATE (bookmark) ON TABLE _stitch.bookmark FROM {m}`, 0},
	{"a grant on a sequence", `GRANT UPDATE ON SEQUENCE _stitch.replication_id_seq TO {m}`, `REVOKE UPDATE ON SEQUENCE _stitch.replication_id_seq FROM {m}`, 0},
	{"a sequence that counts down", `ALTER SEQUENCE _stitch.replication_id_seq INCREMENT -1 MINVALUE -9`, `sequence of bigint start 1 increment -1`, 0},
	{"a grant on the schema", `GRANT CREATE ON SCHEMA _stitch TO {m}`, `REVOKE CREATE ON SCHEMA _stitch FROM {m}`, 0},
	{"a function", `CREATE FUNCTION _stitch.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `function _stitch.f()`, 0},
	{"a type", `CREATE TYPE _stitch.mood AS ENUM ('sad')`, `type _stitch.mood`, 0},
	{"an operator in it", `CREATE OPERATOR _stitch.=== (LEFTARG = int, RIGHTARG = int, PROCEDURE = evil.same)`, `operator _stitch.===(integer,integer)`, 0},
	{"a table", `CREATE TABLE _stitch.more (id int)`, `more: kind table`, 0},
	{"a sequence", `CREATE SEQUENCE _stitch.more`, `more: kind sequence`, 0},
	{"a name that reads like ours", `ALTER TABLE _stitch.version ADD "version pg_catalog.int4 not null" int`, `column "version pg_catalog.int4 not null" pg_catalog.int4`, 0},
}

// newMinedCatalog creates a database with a catalog and the tripwires of another role in it.
func newMinedCatalog(t *testing.T, s *sandbox.Server) (database, owner, mallory string) {
	t.Helper()
	database, owner, mallory = s.Database(t), s.Role(t), s.Role(t)
	s.Exec(t, database, "GRANT CREATE ON DATABASE "+database+" TO "+owner+", "+mallory)
	install(t, connect(t, s, database, owner))
	s.Exec(t, database, "SET SESSION AUTHORIZATION "+mallory+";"+tripwiresSQL)
	return database, owner, mallory
}

// catalogTables returns the tables of the catalog.
func catalogTables(t *testing.T, s *sandbox.Server, database string) []string {
	t.Helper()
	tables := s.Query(t, database, `SELECT '_stitch.' || relname FROM pg_class WHERE relnamespace = '_stitch'::regnamespace AND relkind = 'r' ORDER BY relname <> 'unit', 1`)
	if len(tables) == 0 {
		t.Fatal("no tables")
	}
	return tables
}

// What another role has put into a catalog is found before any of it runs.
func TestForeignCode(t *testing.T) {
	majors := sandbox.NeedMajors(t)
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, mallory := newMinedCatalog(t, s)
		tables, conn := catalogTables(t, s, database), connect(t, s, database, "")
		for _, tt := range attacks {
			if s.Major < tt.since {
				continue
			}
			on := tables
			if between := s.Major > majors[0] && s.Major < majors[len(majors)-1]; between || !strings.Contains(tt.sql, "{t}") {
				on = tables[:1]
			}
			for _, table := range on {
				t.Run(strings.TrimSpace(tt.name+" "+table), func(t *testing.T) {
					fill := strings.NewReplacer("{t}", table, "{m}", mallory)
					sql, want := fill.Replace(tt.sql), fill.Replace(tt.want)
					if err := underAttack(t, conn, owner, sql); err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%s:\n got %v\nwant an error with %q", sql, err, want)
					}
					var ran bool
					if err := conn.QueryRow(t.Context(), "SELECT is_called FROM evil.ran").Scan(&ran); err != nil || ran {
						t.Errorf("%s: it ran (%v)", sql, err)
					}
				})
			}
		}
	})
}

// underAttack does what a superuser may have done to the catalog, and then uses the catalog
// as its owner would. It leaves nothing behind.
func underAttack(t *testing.T, conn *pgx.Conn, owner, sql string) error {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	if _, err := tx.Conn().PgConn().Exec(t.Context(), sql+"; SET LOCAL SESSION AUTHORIZATION "+owner).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT pg_catalog.setval('evil.ran', 1, false)"); err != nil { // the attack itself may have left a mark
		t.Fatal(err)
	}
	if err := Open(t.Context(), tx); err != nil {
		return err
	}
	return writeToAll(t.Context(), tx)
}

// writeToAll writes to all tables of the catalog.
func writeToAll(ctx context.Context, tx pgx.Tx) error {
	id, err := InsertReplication(ctx, tx, Replication{SchemaName: "shop", Definition: json.RawMessage(`{}`)})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, leadSQL, id, 1, time.Minute); err != nil {
		return err
	}
	run := Run{ID: "11111111-2222-3333-4444-555555555555", Status: Succeeded}
	batch := &pgx.Batch{}
	QueueStart(batch, id, &run)
	QueueTables(batch, run.ID, []Unit{{Table: "public.a", Kind: "r", Verify: "none"}})
	QueueReport(batch, run.ID, Report{SourceTable: "a", Status: Failed})
	QueueLoadedTable(batch, LoadedTable{
		Replication: id, TableName: "a", Status: Ready, Columns: []string{}, Attributes: []int{}, SourcePartitions: map[uint32]string{}, Meaning: map[string]string{},
	}, "_stitch.bookmark", Growth{})
	QueueStorage(batch, id, "a", "_stitch.bookmark")
	QueueBookmark(batch, Bookmark{Replication: id, TableName: "a", Run: run.ID})
	QueueFinish(batch, &run)
	return errors.Join(tx.SendBatch(ctx, batch).Close(), DeleteReplication(ctx, tx, id))
}
