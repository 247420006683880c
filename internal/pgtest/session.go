package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Await waits until a query returns that many rows.
func Await(t *testing.T, s *sandbox.Server, database, query string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		rows := s.Query(t, database, query)
		if len(rows) == n {
			return rows
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s\n still returns %q, want %d rows", query, rows, n)
		}
	}
}

// Connect opens a session of the superuser, which ends with the test.
func Connect(t *testing.T, s *sandbox.Server, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// Do runs statements in a session.
func Do(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// ForeignCodeSQL creates functions that leave a mark which no rollback removes, and objects
// that use them, in a schema of the role that runs it.
const ForeignCodeSQL = `
	CREATE SCHEMA evil;
	GRANT ALL ON SCHEMA evil TO PUBLIC;
	CREATE SEQUENCE evil.ran;
	GRANT ALL ON SEQUENCE evil.ran TO PUBLIC;
	CREATE FUNCTION evil.number() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN 1; END $$;
	CREATE FUNCTION evil.positive(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN $1 > 0; END $$;
	CREATE FUNCTION evil.distance(float, float) RETURNS float LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN $1 - $2; END $$;
	CREATE FUNCTION evil.compare(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN btint4cmp($1, $2); END $$;
	CREATE FUNCTION evil.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN CASE tg_op WHEN 'DELETE' THEN old ELSE new END; END $$;
	CREATE FUNCTION evil.same(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM nextval('evil.ran'); RETURN $1 = $2; END $$;
	CREATE OPERATOR evil.=== (LEFTARG = int, RIGHTARG = int, PROCEDURE = evil.same, COMMUTATOR = OPERATOR(evil.===));
	CREATE DOMAIN evil.checked AS int CHECK (evil.positive(VALUE));
	CREATE DOMAIN evil.plain AS int;
	CREATE TYPE evil.pair AS (a int, b evil.checked);
	CREATE TYPE evil.span AS RANGE (subtype = float, subtype_diff = evil.distance);
	CREATE TABLE evil.elsewhere (id int);
	CREATE TRIGGER planted AFTER INSERT OR DELETE ON evil.elsewhere FOR EACH ROW EXECUTE PROCEDURE evil.fire();
	GRANT ALL ON evil.elsewhere TO PUBLIC;
	CREATE VIEW evil.v AS SELECT evil.number() AS n;`
