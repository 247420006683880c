package syncrun

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// withReaders is newEnv whose destination grants nothing to PUBLIC. The readers may connect.
func withReaders(t *testing.T, s *sandbox.Server, readers ...string) *env {
	t.Helper()
	e := newEnv(t, s, s)
	e.atDestination(t, `REVOKE ALL ON DATABASE `+e.destinationDatabase+` FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC`)
	for _, reader := range readers {
		e.atDestination(t, `GRANT CONNECT ON DATABASE `+e.destinationDatabase+` TO `+pgclient.Ident(reader))
	}
	e.definition.Readers = readers
	return e
}

// hostile creates a role with such a name, which is dropped after the databases that are
// created from here on.
func hostile(t *testing.T, s *sandbox.Server, name string) string {
	t.Helper()
	s.Exec(t, "postgres", `DROP ROLE IF EXISTS `+pgclient.Ident(name)+`; CREATE ROLE `+pgclient.Ident(name)+` LOGIN PASSWORD '`+s.Password+`'`)
	t.Cleanup(func() { s.Exec(t, "postgres", `DROP ROLE `+pgclient.Ident(name)) })
	return name
}

// as logs in to the destination.
func (e *env) as(t *testing.T, role string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(e.destination.URL(e.destinationDatabase))
	if err != nil {
		t.Fatal(err)
	}
	config.User = role
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// wantRead fails unless a role may read that many rows of each of the tables of the schema
// shop; with -1, unless it may read none of them.
func (e *env) wantRead(t *testing.T, role string, rows int, tables ...string) {
	t.Helper()
	conn := e.as(t, role)
	for _, table := range tables {
		var n int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM shop."+table).Scan(&n)
		if rows < 0 && pgclient.Code(err) != "42501" || rows >= 0 && (err != nil || n != rows) {
			t.Errorf("%q reads %d rows of %s, %v; want %d", role, n, table, err, rows)
		}
	}
	_ = conn.Close(t.Context())
}

func (e *env) update(t *testing.T) {
	t.Helper()
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(pgclient.Explain(err))
	}
}

func (e *env) wantMissing(t *testing.T, want ...string) {
	t.Helper()
	d, missing, err := replication.FindWithDrift(t.Context(), e.endpoint(), "shop")
	if err != nil || !slices.Equal(missing, want) {
		t.Errorf("missing %q, %v; want %q", missing, err, want)
	}
	if !slices.Equal(d.Readers, e.definition.Readers) {
		t.Errorf("readers %q, want %q", d.Readers, e.definition.Readers)
	}
}

// aclsOfShop lists all privileges in the schema except those of owners.
const aclsOfShop = `
	SELECT 'schema', nspname::text, a.grantee::regrole, a.privilege_type, a.grantor::regrole FROM pg_namespace CROSS JOIN aclexplode(nspacl) a WHERE nspname IN ('shop', '_stitch') AND a.grantee <> nspowner
	UNION ALL SELECT 'table', relname, a.grantee::regrole, a.privilege_type, a.grantor::regrole FROM pg_class CROSS JOIN aclexplode(relacl) a
		WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('shop', '_stitch')) AND a.grantee <> relowner
	UNION ALL SELECT 'default', defaclobjtype::text, a.grantee::regrole, a.privilege_type, a.grantor::regrole FROM pg_default_acl CROSS JOIN aclexplode(defaclacl) a
	ORDER BY 1, 2, 3, 4`

// Readers can read: after the first run, after a run that adds a table, after one that loads
// in ranges, and after one that gives a table another key. A removed reader can no longer
// read anything, and no reader can read the catalog.
func TestReaders(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		suffix := s.RoleName(t)
		odd := hostile(t, s, "a \"b\"\n'; DROP SCHEMA shop; -- \\ "+suffix)
		long := hostile(t, s, strings.Repeat("é", 22)+".."+suffix)
		group, member := s.Role(t), s.Role(t)
		e := withReaders(t, s, odd, long, group)
		slices.Sort(e.definition.Readers)
		e.atDestination(t, `GRANT `+group+` TO `+member+`; GRANT CONNECT ON DATABASE `+e.destinationDatabase+` TO `+member)
		e.ignoreLateCommits()
		e.servers = e.newServers(t, 2)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, other int); INSERT INTO t SELECT g, g FROM generate_series(1, 10) g;
			CREATE TABLE u (id int); INSERT INTO u SELECT generate_series(1, 10)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.wantMissing(t)
		e.run(t)
		readers := []string{odd, long, member}
		for _, reader := range readers {
			e.wantRead(t, reader, 10, "t")
			conn := e.as(t, reader)
			if _, err := conn.Exec(t.Context(), `SELECT * FROM _stitch.replication`); pgclient.Code(err) != "42501" {
				t.Errorf("%q reads the catalog: %v", reader, err)
			}
			_ = conn.Close(t.Context())
		}
		e.wantMissing(t)

		e.definition.Tables["public.u"] = definition.Selection{Method: definition.FullTable}
		e.update(t)
		e.run(t)
		e.atSource(t, `CREATE TABLE parts (id int PRIMARY KEY, v text); INSERT INTO parts SELECT g, md5(g::text) FROM generate_series(1, 20000) g`)
		e.definition.Tables["public.parts"] = definition.Selection{Method: definition.FullTable}
		e.runs.rangeBytes = 500 << 10
		e.update(t)
		e.run(t)
		e.atSource(t, `ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (other); ALTER TABLE t ADD COLUMN more int`)
		e.run(t)
		e.wantMissing(t)
		for _, reader := range readers {
			e.wantRead(t, reader, 10, "t", "u")
			e.wantRead(t, reader, 20000, "parts")
		}

		before := s.Query(t, e.destinationDatabase, aclsOfShop)
		e.update(t)
		e.wantRows(t, aclsOfShop, before...)

		e.definition.Readers = []string{group}
		e.update(t)
		e.wantRead(t, odd, -1, "t", "u", "parts")
		e.wantRead(t, long, -1, "t", "u", "parts")
		e.wantRead(t, member, 10, "t", "u")
		e.definition.Readers = []string{}
		e.update(t)
		e.wantRead(t, member, -1, "t", "u", "parts")
		e.wantRows(t, aclsOfShop)

		e.definition.Readers = []string{odd}
		e.update(t)
		e.wantRead(t, odd, 10, "t", "u")
		e.wantMissing(t)
	})
}

// A refresh finds each revoked privilege, unless the reader has it in another way, and an
// update grants it again.
func TestReadersMissing(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader, other := s.Role(t), s.Role(t)
		e := withReaders(t, s, reader)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE "U.u" (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.definition.Tables[`public."U.u"`] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		usage, table := "USAGE ON SCHEMA shop TO "+reader, `SELECT ON TABLE shop."U.u" TO `+reader
		tableT, defaults := "SELECT ON TABLE shop.t TO "+reader, "DEFAULT SELECT ON TABLES IN SCHEMA shop OF "+e.writer+" TO "+reader
		noDefaults := `ALTER DEFAULT PRIVILEGES FOR ROLE ` + e.writer + ` IN SCHEMA shop REVOKE SELECT ON TABLES FROM ` + reader
		for _, step := range []struct {
			sql  string
			want []string
		}{
			{`REVOKE SELECT ON shop."U.u" FROM ` + reader, []string{table}},
			{`REVOKE USAGE ON SCHEMA shop FROM ` + reader, []string{usage}},
			{noDefaults, []string{defaults}},
			{`DROP OWNED BY ` + reader, []string{defaults, usage, table, tableT}},
			{`DROP OWNED BY ` + reader + `; DROP ROLE ` + reader, []string{"ROLE " + reader}},
		} {
			e.atDestination(t, step.sql)
			e.wantMissing(t, step.want...)
			if strings.Contains(step.sql, "DROP ROLE") {
				err := replication.Update(t.Context(), e.endpoint(), e.definition)
				if err == nil || !strings.Contains(pgclient.Explain(err), "CREATE ROLE "+pgclient.Ident(reader)) {
					t.Errorf("update without the role: %v", err)
				}
				s.Exec(t, "postgres", `CREATE ROLE `+reader+` LOGIN PASSWORD '`+s.Password+`'`)
			}
			e.update(t)
			e.wantMissing(t)
		}

		// In another way: as a member, through PUBLIC, by the default of all schemas.
		e.atDestination(t, `GRANT `+other+` TO `+reader+`; GRANT USAGE ON SCHEMA shop TO `+other+`; REVOKE USAGE ON SCHEMA shop FROM `+reader+`;
			GRANT SELECT ON shop.t TO PUBLIC; REVOKE SELECT ON shop.t FROM `+reader+`;
			ALTER DEFAULT PRIVILEGES FOR ROLE `+e.writer+` GRANT SELECT ON TABLES TO `+other+`; `+noDefaults)
		e.wantMissing(t)
		e.atDestination(t, `REVOKE SELECT ON shop.t FROM PUBLIC`)
		e.wantMissing(t, tableT)
		if pgclient.Version(e.session(t)) >= 14 {
			e.atDestination(t, `GRANT pg_read_all_data TO `+reader+`; REVOKE `+other+` FROM `+reader)
			e.wantMissing(t)
		}
	})
}

// Removing a reader leaves alone what others granted, and what others may do.
func TestReadersRevoke(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader, other, grantor := s.Role(t), s.Role(t), s.Role(t)
		e := withReaders(t, s, other, reader)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		e.definition.Readers = []string{other}
		e.atDestination(t, `GRANT USAGE ON SCHEMA shop TO `+grantor+` WITH GRANT OPTION; GRANT SELECT ON shop.t TO `+grantor+` WITH GRANT OPTION;
			GRANT INSERT ON shop.t TO `+reader+`; CREATE VIEW shop.theirs AS SELECT 1; GRANT SELECT ON shop.theirs TO `+reader+`;
			SET ROLE `+grantor+`; GRANT USAGE ON SCHEMA shop TO `+reader+`; GRANT SELECT ON shop.t TO `+reader)
		e.atDestination(t, `SET ROLE `+e.writer+`; CREATE VIEW shop.ours AS SELECT 1`) // default privileges also apply to it
		e.wantRows(t, `SELECT has_table_privilege('`+reader+`', 'shop.ours', 'SELECT')`, "t")
		e.update(t)
		e.wantRows(t, `SELECT * FROM (`+aclsOfShop+`) AS a (kind, name, grantee, privilege, grantor) WHERE grantee = '`+reader+`'::regrole`,
			"schema|shop|"+reader+"|USAGE|"+grantor, "table|t|"+reader+"|INSERT|"+e.writer, "table|t|"+reader+"|SELECT|"+grantor,
			"table|theirs|"+reader+"|SELECT|"+s.Username)
		e.wantRead(t, other, 0, "t")
		e.wantMissing(t)
	})
}

// Delete revokes what readers were granted, on everything that stays.
func TestReadersDelete(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for name, force := range map[string]bool{"tables stay": false, "forced": true} {
			t.Run(name, func(t *testing.T) {
				reader := s.Role(t)
				e := withReaders(t, s, reader)
				e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
				e.create(t)
				e.run(t)
				e.atDestination(t, `SET ROLE `+e.writer+`; CREATE TABLE shop.mine ()`)
				if err := replication.Delete(t.Context(), e.endpoint(), "shop", force); err != nil {
					t.Fatal(pgclient.Explain(err))
				}
				e.wantRows(t, aclsOfShop)
				e.atDestination(t, `REVOKE CONNECT ON DATABASE `+e.destinationDatabase+` FROM `+reader+`; DROP ROLE `+reader)
			})
		}
	})
}

// If the login that loads may not grant on another role's schema, an update reports that
// before it changes anything, and a run reports it in a note.
func TestReadersOfAnothersSchema(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader := s.Role(t)
		e := withReaders(t, s, reader)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.atDestination(t, `CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop TO `+e.writer)
		grant := `GRANT USAGE ON SCHEMA "shop" TO "` + reader + `"`
		if run := e.run(t); len(run.Notes) != 1 || !strings.Contains(run.Notes[0], grant) {
			t.Errorf("notes %q", run.Notes)
		}
		e.wantMissing(t, "USAGE ON SCHEMA shop TO "+reader)
		if err := replication.Update(t.Context(), e.endpoint(), e.definition); err == nil || !strings.Contains(pgclient.Explain(err), grant) {
			t.Errorf("update: %v", err)
		}
		e.atDestination(t, grant)
		e.update(t)
		e.wantRead(t, reader, 0, "t")
	})
}

// If no role has a reader's name, Create creates nothing. A reader that is dropped before the
// first run is noted, and the others can read.
func TestReadersAbsent(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader, dropped := s.Role(t), s.Role(t)
		e := withReaders(t, s, reader)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		for _, name := range []string{"nobody's", "public", "PUBLIC"} {
			e.definition.Readers = []string{reader, name}
			if err := replication.Create(t.Context(), e.endpoint(), e.definition, false, pgclient.Identity{}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
		e.wantRows(t, `SELECT count(*) FROM pg_namespace WHERE nspname = '_stitch'`, "0")
		e.definition.Readers = []string{reader, dropped}
		e.create(t)
		s.Exec(t, "postgres", `DROP ROLE `+dropped)
		if run := e.run(t); len(run.Notes) != 1 || !strings.Contains(run.Notes[0], dropped) {
			t.Errorf("notes %q", run.Notes)
		}
		e.wantRead(t, reader, 0, "t")
		e.wantMissing(t, "ROLE "+dropped)
	})
}

// A table that another role had made in the schema, and that a run adopts, is readable after
// the run, and the roles that could read it before still can.
func TestReadersAdopt(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader, other, late := s.Role(t), s.Role(t), s.Role(t)
		e := withReaders(t, s, reader)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.atDestination(t, `CREATE SCHEMA shop AUTHORIZATION `+e.writer+`; SET ROLE `+e.writer+`; CREATE TABLE shop.t (id int PRIMARY KEY); GRANT SELECT ON shop.t TO `+other+`;
			ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO `+late)
		e.adopt = true
		e.create(t)
		e.run(t)
		e.wantRead(t, reader, 0, "t")
		e.wantRows(t, `SELECT has_table_privilege('`+other+`', 'shop.t', 'SELECT'), has_table_privilege('`+late+`', 'shop.t', 'SELECT')`, "t|f")
	})
}

// Another login acts as the role that loads, so its grants apply to what that role loads.
func TestReadersByOtherLogin(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		reader := s.Role(t)
		e := withReaders(t, s, reader)
		e.definition.Readers = nil
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		e.run(t)
		owner := e.writer
		e.writer = s.Role(t)
		e.atDestination(t, `GRANT `+owner+` TO `+e.writer+`; GRANT CONNECT ON DATABASE `+e.destinationDatabase+` TO `+e.writer)
		e.servers = e.newServers(t, 1)
		e.definition.Readers = []string{reader}
		e.definition.Tables["public.u"] = definition.Selection{Method: definition.FullTable}
		e.update(t)
		e.writer = owner
		e.servers = e.newServers(t, 1)
		e.run(t)
		e.wantRead(t, reader, 0, "t", "u")
		e.wantMissing(t)
		e.wantRows(t, `SELECT DISTINCT grantor FROM (`+aclsOfShop+`) AS a (kind, name, grantee, privilege, grantor)`, owner)
	})
}
