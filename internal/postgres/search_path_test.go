package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Other roles can create functions, operators, types and views that PostgreSQL prefers
// to its own, in schemas of the search_path: by default the schema public and that with
// the login's name; or a schema that the owner of a database, or a role that manages
// the login, puts in front. Provisioning uses none of them.
func TestForeignSearchPath(t *testing.T) {
	t.Parallel()
	majors := sandbox.NeedMajors(t)
	used := usedNames(t)
	for _, major := range slices.Compact([]int{majors[0], majors[len(majors)-1]}) {
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			p := newPlanted(t, sandbox.OwnServer(t, sandbox.Config{Major: major}), used)
			for place, sql := range map[string]string{
				"default":           "",
				"by the database":   "ALTER DATABASE shop SET search_path = front, public, pg_catalog; ALTER DATABASE maintenance SET search_path = front, pg_catalog",
				"by the login":      "ALTER ROLE administrator SET search_path = front, pg_catalog",
				"by the login here": "ALTER ROLE administrator IN DATABASE shop SET search_path = front, public, pg_catalog",
			} {
				t.Run(place, func(t *testing.T) {
					if sql != "" {
						p.Exec(t, "postgres", sql)
					}
					p.run(t)
				})
				p.Exec(t, "postgres", "ALTER DATABASE shop RESET ALL; ALTER DATABASE maintenance RESET ALL; ALTER ROLE administrator RESET ALL; ALTER ROLE administrator IN DATABASE shop RESET ALL")
			}
		})
	}
}

// All methods that talk to a server are in provisioning.
func TestProvisioningIsComplete(t *testing.T) {
	source, err := os.ReadFile("search_path_test.go")
	if err != nil {
		t.Fatal(err)
	}
	without := []string{"Acquire", "AnswersThrough", "RequireSessions"} // other methods run all that these do
	server := reflect.TypeFor[*Server]()
	for i := range server.NumMethod() {
		method := server.Method(i)
		talks := method.Type.NumIn() > 1 && method.Type.In(1) == reflect.TypeFor[context.Context]()
		if talks && !slices.Contains(without, method.Name) && !strings.Contains(string(source), "."+method.Name+"(ctx, ") {
			t.Errorf("%s is not among them", method.Name)
		}
	}
}

// planted is a server on which others made something of each name that is used: in
// the databases shop and maintenance, and in all that are created later.
type planted struct {
	*sandbox.Server
	config Config // of a superuser called administrator
}

func newPlanted(t *testing.T, s *sandbox.Server, used names) planted {
	t.Helper()
	s.Exec(t, "postgres", "CREATE ROLE administrator SUPERUSER LOGIN PASSWORD '"+s.Password+"'; CREATE ROLE application; CREATE ROLE reader")
	signatures := signatures(t, s, used["function"])
	s.Exec(t, "template1", `CREATE SCHEMA planted; CREATE SEQUENCE planted.calls; CREATE SCHEMA front; CREATE SCHEMA administrator;
		GRANT USAGE ON SCHEMA planted TO PUBLIC; GRANT ALL ON SEQUENCE planted.calls TO PUBLIC`)
	for _, schema := range []string{"public", "administrator", "front"} {
		s.Exec(t, "template1", plantSQL(schema, used, signatures))
	}
	s.Exec(t, "postgres", "CREATE DATABASE shop")
	s.Exec(t, "postgres", "CREATE DATABASE maintenance")
	s.Exec(t, "shop", `
		CREATE TABLE public.orders (id int PRIMARY KEY, at pg_catalog.timestamptz DEFAULT pg_catalog.now());
		ALTER TABLE public.orders ADD COLUMN more pg_catalog._text DEFAULT '{a}';
		CREATE SCHEMA billing AUTHORIZATION application;
		CREATE TABLE billing.payments (id int);
		ALTER TABLE billing.payments OWNER TO application`)
	return planted{s, Config{Host: s.Host, Port: s.Port, Username: "administrator", Password: s.Password, Database: "maintenance"}}
}

// calls counts those of what was planted.
func (p planted) calls(t *testing.T) (calls []string) {
	t.Helper()
	for _, database := range p.Query(t, "postgres", "SELECT datname FROM pg_database WHERE datname IN ('shop', 'maintenance', 'template1') ORDER BY 1") {
		calls = append(calls, p.Query(t, database, "SELECT last_value, is_called FROM planted.calls")...)
	}
	return calls
}

// run does all that can be done, and checks that nothing was called.
func (p planted) run(t *testing.T) {
	t.Helper()
	p.requireTraps(t)
	before := p.calls(t)
	for what, act := range provisioning {
		t.Run(what, func(t *testing.T) {
			server := serverOf(t, p.config)
			if err := act(t.Context(), server, p); err != nil {
				t.Error(Explain(err))
			}
		})
	}
	if after := p.calls(t); !slices.Equal(after, before) {
		t.Errorf("something was called: %v, before %v", after, before)
	}
}

// requireTraps checks that a session without precautions does call what was planted.
func (p planted) requireTraps(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URLAs("administrator", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{
		"SELECT substr(relname, 2, 3) FROM pg_catalog.pg_class",
		"SELECT relname || relname FROM pg_catalog.pg_class",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "caught") {
			t.Fatalf("%s is no trap: %v", sql, err)
		}
	}
}

// provisioning are the methods of a Server, in groups that leave nothing behind.
var provisioning = map[string]func(ctx context.Context, server *Server, p planted) error{
	"users": func(ctx context.Context, server *Server, p planted) error {
		u := User{Name: "stitch", Login: true, ConnectionLimit: 3, ValidUntil: "2040-01-01T00:00:00Z", Replication: true, Parameters: map[string]string{"work_mem": "8MB"}}
		_, created := server.CreateUser(ctx, u, &Password{Text: p.Password, Encryption: SCRAM})
		_, read := server.User(ctx, "stitch")
		_, planned := server.Planning().User(ctx, "stitch")
		u.ConnectionLimit, u.Replication = 4, false
		_, updated := server.UpdateUser(ctx, u, nil)
		return errors.Join(created, read, planned, updated,
			server.GrantSource(ctx, SourceGrants{Database: "shop", User: "stitch", Schemas: []string{"public"}}),
			server.DropUser(ctx, "stitch", DropOptions{ReassignOwnedTo: "application", TerminateSessions: true}))
	},
	"adoption": func(ctx context.Context, server *Server, p planted) error {
		u, password := User{Name: "left", Login: true, ConnectionLimit: -1}, &Password{Text: p.Password, Encryption: SCRAM}
		d := Database{Name: "left", Owner: "administrator", ConnectionLimit: -1}
		c := Schema{Database: "shop", Name: "left", Owner: "administrator"}
		_, user := server.CreateUser(ctx, u, password)
		_, database := server.CreateDatabase(ctx, d, "")
		_, schema := server.CreateSchema(ctx, c)
		_, refusals, adoptedUser := server.AdoptUser(ctx, u, password)
		_, others, adoptedDatabase := server.AdoptDatabase(ctx, d, "")
		_, more, adoptedSchema := server.AdoptSchema(ctx, c)
		err := errors.Join(user, database, schema, adoptedUser, adoptedDatabase, adoptedSchema)
		if refusals = slices.Concat(refusals, others, more); len(refusals) > 0 {
			err = errors.Join(err, fmt.Errorf("refused: %q", refusals))
		}
		return errors.Join(err, server.DropSchema(ctx, "shop", "left", false), server.DropDatabase(ctx, "left", DatabaseDrop{Tables: true}),
			server.DropUser(ctx, "left", DropOptions{}))
	},
	"a user that owns something": func(ctx context.Context, server *Server, _ planted) error {
		var dependents *DependentsError
		if err := server.DropUser(ctx, "application", DropOptions{}); !errors.As(err, &dependents) || !strings.Contains(err.Error(), "billing.payments") {
			return errors.Join(errors.New("want a refusal that lists what it owns"), err)
		}
		return nil
	},
	"source grants": func(ctx context.Context, server *Server, _ planted) error {
		g := SourceGrants{Database: "shop", User: "reader", Schemas: []string{"public", "billing"}, FutureTables: true}
		less := SourceGrants{Database: "shop", User: "reader", Schemas: []string{"public"}, Tables: []TableName{{"public", "orders"}}}
		granted := server.GrantSource(ctx, g)
		_, drift := server.SourceDrift(ctx, g)
		_, planned := server.Planning().SourceDrift(ctx, g)
		_, read := server.SourceGrants(ctx, "shop", "reader")
		return errors.Join(granted, drift, planned, read, server.UpdateSource(ctx, g, less), server.RevokeSource(ctx, less))
	},
	"destination grants": func(ctx context.Context, server *Server, _ planted) error {
		g := DestinationGrants{Database: "shop", User: "reader", SystemCatalogs: true}
		granted := server.GrantDestination(ctx, g)
		_, drift := server.DestinationDrift(ctx, g)
		less := DestinationGrants{Database: "shop", User: "reader"}
		return errors.Join(granted, drift, server.UpdateDestination(ctx, g, less), server.RevokeDestination(ctx, less))
	},
	"readers": func(ctx context.Context, server *Server, _ planted) error {
		r, readers := Reading{Resource: "shop", Schema: "public", Tables: []string{"orders"}}, []string{"reader"}
		change := func(tx pgx.Tx) error {
			undo, err := server.ClaimReading(ctx, tx, r, readers)
			if err != nil {
				return err
			}
			defer undo()
			_, given := server.GiveUpReading(ctx, tx, r, readers)
			return errors.Join(given, server.TakeTurn(ctx, tx, "shop"))
		}
		return server.InTurn(ctx, "shop", func() error {
			return server.OnConn(ctx, "shop", func(conn *pgx.Conn) error { return InTx(ctx, conn, change) })
		})
	},
	"databases": func(ctx context.Context, server *Server, _ planted) error {
		d := Database{Name: "analytics", Owner: "application", ConnectionLimit: -1, Comment: "mine"}
		_, created := server.CreateDatabase(ctx, d, "")
		_, read := server.Database(ctx, "analytics")
		_, planned := server.Planning().Database(ctx, "analytics")
		d.Comment, d.ConnectionLimit = "", 5
		return errors.Join(created, read, planned, server.UpdateDatabase(ctx, d),
			server.DropDatabase(ctx, "analytics", DatabaseDrop{Tables: true, Sessions: true}))
	},
	"a database that holds something": func(ctx context.Context, server *Server, _ planted) error {
		var contents *ContentsError
		if err := server.DropDatabase(ctx, "shop", DatabaseDrop{}); !errors.As(err, &contents) {
			return errors.Join(errors.New("want a refusal that lists its tables"), err)
		}
		return nil
	},
	"a database in use": func(ctx context.Context, server *Server, p planted) error {
		conn, err := pgx.Connect(ctx, p.URL("template1"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		var busy *SessionsError
		if _, err = server.CreateDatabase(ctx, Database{Name: "copy", ConnectionLimit: -1}, ""); !errors.As(err, &busy) {
			return errors.Join(errors.New("want a refusal that names the session"), err)
		}
		return nil
	},
	"schemas": func(ctx context.Context, server *Server, p planted) error {
		c := Schema{Database: "shop", Name: "mine", Owner: "application", Comment: "mine"}
		_, created := server.CreateSchema(ctx, c)
		_, read := server.Schema(ctx, "shop", "mine")
		_, planned := server.Planning().Schema(ctx, "shop", "mine")
		c.Comment = ""
		refusal := server.DropSchema(ctx, "shop", "billing", false)
		var contents *ContentsError
		if errors.As(refusal, &contents) {
			refusal = nil
		}
		return errors.Join(created, read, planned, server.UpdateSchema(ctx, c), refusal, server.DropSchema(ctx, "shop", "mine", true))
	},
	"what a plan foresees": func(ctx context.Context, server *Server, _ planted) error {
		_, role := server.RoleIdentity(ctx, "application")
		_, database := server.DatabaseIdentity(ctx, "shop")
		_, losses := server.Losses(ctx, "shop", "")
		var tables, contents *ContentsError
		err := errors.Join(role, database, losses)
		if refusal := server.TablesOf(ctx, "shop"); !errors.As(refusal, &tables) {
			err = errors.Join(err, errors.New("want its tables listed"), refusal)
		}
		if refusal := server.ContentsOf(ctx, "shop", "billing"); !errors.As(refusal, &contents) {
			err = errors.Join(err, errors.New("want its contents listed"), refusal)
		}
		return err
	},
	"structure": func(ctx context.Context, server *Server, _ planted) error {
		orders := []TableName{{"public", "orders"}}
		_, tables := server.Tables(ctx, "shop", orders)
		_, relations := server.Relations(ctx, "shop", []string{"public"})
		return errors.Join(tables, relations, server.OnConn(ctx, "shop", func(conn *pgx.Conn) error {
			_, types := ReadTypeSet(ctx, conn)
			return errors.Join(types, InTx(ctx, conn, func(tx pgx.Tx) error {
				_, err := ReadRelations(ctx, tx, orders, true)
				return err
			}))
		}))
	},
	"checks": func(ctx context.Context, server *Server, _ planted) error {
		_, plain := server.CheckConnection(ctx, ConnectionCheck{})
		_, source := server.CheckConnection(ctx, ConnectionCheck{Database: "shop", Use: UseAsSource, Schemas: []string{"public"}, Tables: map[TableName]string{{"public", "orders"}: "at"}})
		_, destination := server.CheckConnection(ctx, ConnectionCheck{Database: "shop", Use: UseAsDestination, Schemas: []string{"billing"}})
		return errors.Join(plain, source, destination)
	},
	"locks": func(ctx context.Context, server *Server, p planted) error {
		conn, err := pgx.Connect(ctx, p.URL("shop"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		if err := HoldRightsLock(ctx, server, conn, "shop"); err != nil {
			return err
		}
		warned := errors.New("no warning")
		g := SourceGrants{Database: "shop", User: "reader", Schemas: []string{"public"}}
		granted := server.Warning(func(w Warning) {
			if strings.Contains(w.Detail, fmt.Sprint("pid ", conn.PgConn().PID())) {
				warned = nil
			}
		}).GrantSource(ctx, g)
		err = errors.Join(granted, warned, server.RevokeSource(ctx, g))
		timeout := &pgconn.PgError{Code: LockNotAvailable, Message: "timeout"}
		for _, named := range []error{
			server.nameHolders(ctx, "shop", contention{schema: "billing", owner: "application"}, timeout),
			server.NameHolders(ctx, "shop", "public", timeout),
		} {
			if strings.Contains(named.Error(), "caught") {
				err = errors.Join(err, named)
			}
		}
		return err
	},
}
