package postgres

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestReplicationChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		want bool
		have User
		sql  string // and the alternative
	}{
		"has it":       {want: true, have: User{Replication: true}},
		"lacks it":     {want: true, have: User{}, sql: `ALTER ROLE "u" REPLICATION`},
		"managed":      {want: true, have: User{replicating: replicating{existing: []string{"r"}}}, sql: `ALTER ROLE "u" REPLICATION|GRANT "r" TO "u"`},
		"by attribute": {have: User{Replication: true, replicating: replicating{attribute: true}}, sql: `ALTER ROLE "u" NOREPLICATION`},
		"by both": {
			have: User{Replication: true, replicating: replicating{attribute: true, grants: []roleGrant{{role: "r"}, {role: "r", grantor: "g"}}}},
			sql:  `ALTER ROLE "u" NOREPLICATION|REVOKE "r" FROM "u"|REVOKE "r" FROM "u" GRANTED BY "g"`,
		},
	} {
		var sql []string
		for _, change := range (User{Name: "u", Replication: tt.want}).replicationChanges(tt.have) {
			sql = append(append(sql, change.sql), change.instead...)
		}
		if got := strings.Join(sql, "|"); got != tt.sql {
			t.Errorf("%s: got %s, want %s", name, got, tt.sql)
		}
	}
}

// Where no login can set the attribute, a role that stands for it is granted. That role has a
// fixed name, so each test has a server of its own.
func TestReplication(t *testing.T) {
	for _, major := range sandbox.NeedMajors(t) {
		s := sandbox.OwnServer(t, sandbox.Config{Major: major})
		config := pgtest.Administrator(t, s)
		admin, superuser := pgtest.Server(t, config), pgtest.Server(t, pgtest.Superuser(s))
		u := User{Name: "stitch", Login: true, ConnectionLimit: -1, Replication: true}
		const attributeSQL = `SELECT rolreplication, pg_has_role('stitch', 'rds_replication', 'MEMBER') FROM pg_roles WHERE rolname = 'stitch'`

		if _, err := CreateUser(t.Context(), admin, u, nil); err == nil || !strings.Contains(pgclient.Explain(err), "Remove replication from the configuration and apply, which creates the user. Then ask an administrator to run:\n  ALTER ROLE \"stitch\" REPLICATION;\nand add replication") {
			t.Errorf("%d: got %v", major, pgclient.Explain(err))
		} else if strings.Contains(pgclient.Explain(err), "ALTER ROLE \""+config.Username+"\" REPLICATION;") != (major >= 16) {
			t.Errorf("%d: got %v", major, pgclient.Explain(err))
		}
		s.Exec(t, "postgres", "CREATE ROLE rds_replication")
		if _, err := CreateUser(t.Context(), admin, u, nil); major >= 16 && (err == nil || !strings.Contains(pgclient.Explain(err), "run:\n  GRANT \"rds_replication\" TO \"stitch\";")) {
			t.Errorf("%d: got %v", major, err)
		}
		s.Exec(t, "postgres", "DROP ROLE IF EXISTS stitch; GRANT rds_replication TO "+config.Username+" WITH ADMIN OPTION")
		if _, err := CreateUser(t.Context(), admin, u, nil); err != nil {
			t.Fatal(major, err)
		}
		wantUser(t, admin, u)
		if got := s.Query(t, "postgres", attributeSQL)[0]; got != "f|t" {
			t.Errorf("%d: attribute and membership are %s", major, got)
		}
		s.Exec(t, "postgres", "GRANT rds_replication TO stitch") // a second grant, since PostgreSQL 16
		u.Replication = false
		if _, err := UpdateUser(t.Context(), superuser, u, nil); err != nil {
			t.Error(major, err)
		}
		wantUser(t, admin, u)
		u.Replication = true
		if _, err := UpdateUser(t.Context(), superuser, u, nil); err != nil {
			t.Error(major, err)
		}
		if got := s.Query(t, "postgres", attributeSQL)[0]; got != "t|f" {
			t.Errorf("%d: attribute and membership are %s", major, got)
		}
		u.Replication = false
		if _, err := UpdateUser(t.Context(), admin, u, nil); major < 16 && (err == nil || !strings.Contains(pgclient.Explain(err), "NOREPLICATION;")) {
			t.Errorf("%d: got %v", major, err)
		}
	}
}
