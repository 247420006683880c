package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What uses a database without a connection to it is named, with the SQL to run.
func TestDropDatabaseObstacles(t *testing.T) {
	for _, major := range sandbox.NeedMajors(t) {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major, Settings: map[string]string{"max_prepared_transactions": "5", "wal_level": "logical"}})
		admin, name := s.Role(t), s.Database(t)
		s.Exec(t, "postgres", "ALTER ROLE "+admin+" CREATEDB; ALTER DATABASE "+name+" OWNER TO "+admin)
		s.Exec(t, name, `CREATE SUBSCRIPTION "its" CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)`)
		conn, err := pgx.Connect(t.Context(), s.URL(name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'it''s'"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(t.Context())
		server := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: admin, Password: s.Password})
		drop := func(sessions bool, wants ...string) {
			t.Helper()
			err := DropDatabase(t.Context(), server, name, DatabaseDrop{Tables: true, Sessions: sessions})
			if err == nil {
				t.Errorf("%d: it was dropped", major)
				return
			}
			for _, want := range wants {
				if !strings.Contains(pgclient.Explain(err), want) {
					t.Errorf("%d: got %s\nwithout %s", major, pgclient.Explain(err), want)
				}
			}
		}
		const prepared, subscription = "run ROLLBACK PREPARED 'it''s';", "run DROP SUBSCRIPTION its;"
		drop(false, prepared, subscription)
		drop(true, prepared, subscription)

		s.Exec(t, name, "ROLLBACK PREPARED 'it''s'")
		s.Exec(t, name, "ALTER SUBSCRIPTION its DISABLE")
		s.Exec(t, name, "ALTER SUBSCRIPTION its SET (slot_name = NONE)")
		s.Exec(t, name, "DROP SUBSCRIPTION its")
		if err := DropDatabase(t.Context(), server, name, DatabaseDrop{Tables: true}); err != nil {
			t.Errorf("%d: %v", major, err)
		}
	}
}

// A prepared transaction holds locks, without a session.
func TestPreparedTransactionHolds(t *testing.T) {
	t.Parallel()
	s := sandbox.OwnServer(t, sandbox.Config{Settings: map[string]string{"max_prepared_transactions": "5"}})
	name, user := s.Database(t), s.Role(t)
	conn, err := pgx.Connect(t.Context(), s.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; GRANT CONNECT ON DATABASE "+name+" TO "+user+"; PREPARE TRANSACTION 'lock'"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	err = privilege.GrantDestination(t.Context(), pgtest.Server(t, pgtest.Superuser(s)), privilege.DestinationGrants{Database: name, User: user})
	if err == nil || !strings.Contains(pgclient.Explain(err), "prepared transaction 'lock' of user postgres") {
		t.Errorf("got %v", err)
	}
	s.Exec(t, name, "ROLLBACK PREPARED 'lock'")
}
