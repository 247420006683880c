package syncrun

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestCreateRefusesTables(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
		e.atDestination(t, `CREATE SCHEMA shop AUTHORIZATION `+e.writer+`; SET ROLE `+e.writer+`; CREATE TABLE shop.t (id int PRIMARY KEY); INSERT INTO shop.t VALUES (2)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		err := replication.Create(t.Context(), e.endpoint(), e.definition, false, pgclient.Identity{})
		if err == nil || !strings.Contains(err.Error(), `already contains t, which`) {
			t.Fatalf("got %v", err)
		}
		e.wantRows(t, `SELECT count(*) FROM pg_namespace WHERE nspname = '_stitch'`, "0")

		e.adopt = true
		e.create(t)
		e.run(t)
		e.wantSame(t, "t")
		if err := replication.Create(t.Context(), e.endpoint(), e.definition, true, pgclient.Identity{}); err == nil || !strings.Contains(err.Error(), "already belongs to the replication \"Shop\"") {
			t.Errorf("a second replication into the schema: %v", err)
		}
	})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		for name, tt := range map[string]struct {
			force bool
			extra string // SQL at the destination before
			left  string // relations in the schema, or ∅ if the schema is gone
		}{
			"tables stay":                    {false, "", "t"},
			"forced":                         {true, "", "∅"},
			"forced, but not the user's own": {true, `CREATE TABLE shop.mine (id int)`, "mine"},
		} {
			t.Run(name, func(t *testing.T) {
				e := newEnv(t, s, s)
				e.atSource(t, `CREATE TABLE t (id int)`)
				e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
				e.create(t)
				e.run(t)
				e.atDestination(t, tt.extra)
				for range 2 { // what is gone already counts as deleted
					if err := replication.Delete(t.Context(), e.endpoint(), "shop", tt.force); err != nil {
						t.Fatal(err)
					}
				}
				e.wantRows(t, `SELECT string_agg(relname, ',') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname IN ('shop', '_stitch')`, tt.left)
				e.wantRows(t, `SELECT count(*) FROM pg_namespace WHERE nspname = '_stitch'`, "0")
			})
		}
	})
}

// Delete does not drop what another role has put in the place of a loaded table, whatever
// privileges the login has.
func TestDeleteAfterReplacement(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.writer, e.reader = s.Username, s.Username
	e.servers = e.newServers(t, 1)
	mallory := s.Role(t)
	e.atSource(t, `CREATE TABLE t (id int)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `DROP TABLE shop.t; CREATE TABLE shop.t (id int); ALTER TABLE shop.t OWNER TO `+mallory)
	want := `drop shop.t: it belongs to "` + mallory + `", not to the role that loads`
	if err := replication.Delete(t.Context(), e.endpoint(), "shop", true); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	e.atDestination(t, `DROP TABLE shop.t; ALTER SCHEMA shop OWNER TO `+mallory)
	if err := replication.Delete(t.Context(), e.endpoint(), "shop", true); err != nil {
		t.Error(err)
	}
	e.wantRows(t, `SELECT nspname FROM pg_namespace WHERE nspname IN ('shop', '_stitch')`, "shop")
}

// Delete also does not drop what replaces a loaded table while Delete waits for a lock.
func TestDeleteDuringReplacement(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.writer, e.reader = s.Username, s.Username
	e.servers = e.newServers(t, 1)
	mallory := s.Role(t)
	e.atSource(t, `CREATE TABLE t (id int)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	other := e.sessionAtDestination(t)
	pgtest.Do(t, other, `BEGIN; ALTER TABLE shop.t RENAME TO was; CREATE TABLE shop.t (id int); ALTER TABLE shop.t OWNER TO `+mallory)
	done := make(chan error, 1)
	go func() { done <- replication.Delete(context.WithoutCancel(t.Context()), e.endpoint(), "shop", true) }()
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation = 'shop.t'::regclass`, 1)
	pgtest.Do(t, other, `COMMIT`)
	want := `drop shop.t: it belongs to "` + mallory + `", not to the role that loads`
	if err := <-done; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	e.wantRows(t, `SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' ORDER BY relname`, "t", "was")
}

// While the deletion of the last replication waits for a session that reads the catalog,
// readers of the loaded tables are let through.
func TestDeleteLetsReadersThrough(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int)`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	long, short := e.sessionAtDestination(t), e.sessionAtDestination(t)
	pgtest.Do(t, long, `BEGIN; SELECT * FROM _stitch.report`)
	done := make(chan error, 1)
	go func() { done <- replication.Delete(context.WithoutCancel(t.Context()), e.endpoint(), "shop", true) }()
	for range 2 {
		pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE NOT granted AND relation = '_stitch.report'::regclass`, 1)
		pgtest.Do(t, short, `SET lock_timeout = '5s'; SELECT * FROM shop.t`)
	}
	pgtest.Do(t, long, `COMMIT`)
	if err := <-done; err != nil {
		t.Error(err)
	}
	e.wantRows(t, `SELECT nspname FROM pg_namespace WHERE nspname IN ('shop', '_stitch')`)
}

func TestDeleteWithoutDatabase(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	endpoint := e.endpoint()
	endpoint.Database = "was_never_there"
	if err := replication.Delete(t.Context(), endpoint, "shop", true); err != nil {
		t.Error(err)
	}
}

// Another login acts as the catalog's owner, if it is a member of it.
func TestOtherLogin(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		e := newEnv(t, s, s)
		e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY)`)
		e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
		e.create(t)
		owner := e.writer
		e.writer = s.Role(t)
		e.servers = e.newServers(t, 1)
		if _, err := replication.Stored(t.Context(), e.endpoint(), "shop"); err == nil || !strings.Contains(err.Error(), `belongs to "`+owner) {
			t.Fatalf("not a member: %v", err)
		}
		e.atDestination(t, `GRANT `+owner+` TO `+e.writer)
		e.run(t)
		e.run(t)
		e.wantRows(t, `SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
			WHERE nspname IN ('shop', '_stitch')`, owner)
	})
}

func TestNewerCatalog(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.create(t)
	e.atDestination(t, `UPDATE _stitch.version SET version = 99`)
	for name, err := range map[string]error{
		"find":   func() error { _, err := replication.Stored(t.Context(), e.endpoint(), "shop"); return err }(),
		"update": replication.Update(t.Context(), e.endpoint(), e.definition),
	} {
		if err == nil || !strings.Contains(err.Error(), "a newer release") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A replication within one server needs two of its connections at once.
func TestWithinOneServer(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY); GRANT CREATE ON DATABASE `+e.sourceDatabase+` TO `+e.reader)
	e.definition.Destination, e.destinationDatabase, e.writer = e.definition.Source, e.sourceDatabase, e.reader
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	for connections, want := range map[int]string{1: "set max_connections to 2", 2: ""} {
		e.servers = pgclient.NewServers(map[string]pgclient.Config{"source": {
			Host: s.Host, Port: s.Port, Username: e.reader, Password: s.Password, MaxConnections: connections,
		}})
		server, _ := e.servers.Server("source")
		endpoint := pgclient.Endpoint{Server: server, Database: e.sourceDatabase}
		if err := replication.Create(t.Context(), endpoint, e.definition, true, pgclient.Identity{}); err != nil && !strings.Contains(err.Error(), "belongs to the replication") {
			t.Fatal(err)
		}
		_, err := e.runner().Run(t.Context(), endpoint, "shop")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d connections: %v", connections, err)
		}
		e.servers.Close()
	}
}

// A run that waited for another does not follow a definition that changed in the meantime,
// for instance to leave a column out.
func TestDefinitionChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	e := newEnv(t, s, s)
	e.servers = e.newServers(t, 2)
	e.atSource(t, `CREATE TABLE t (id int PRIMARY KEY, secret text); INSERT INTO t VALUES (1, 's')`)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
	e.create(t)
	e.run(t)
	e.atDestination(t, `ALTER TABLE shop.t DROP secret`)
	holder := e.lead(t)
	done := e.start(t.Context())
	pgtest.Await(t, s, e.destinationDatabase, `SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> `+fmt.Sprint(holder.PgConn().PID())+` AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, 1)
	e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable, ExcludeColumns: []string{"secret"}}
	if err := replication.Update(t.Context(), e.endpoint(), e.definition); err != nil {
		t.Fatal(err)
	}
	pgtest.Do(t, holder, unlockAllSQL)
	if got := <-done; got.err == nil || !strings.Contains(got.err.Error(), "the definition was changed") {
		t.Errorf("got %v", got.err)
	}
	e.run(t)
	e.wantRows(t, `SELECT attname FROM pg_attribute WHERE attrelid = 'shop.t'::regclass AND attname = 'secret'`)
}
