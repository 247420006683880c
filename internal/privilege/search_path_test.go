package privilege_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/preflight"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// Other roles can create functions, operators, types and views that PostgreSQL prefers to its
// own, in schemas of the search_path: by default the schema public and the one with the login's
// name; or a schema that the owner of a database, or a role that manages the login, puts in
// front. Provisioning uses none of these objects.
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

// All functions that talk to a server are in provisioning.
func TestProvisioningIsComplete(t *testing.T) {
	source, err := os.ReadFile("search_path_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := talking(t)
	if len(found) < 40 {
		t.Fatalf("only these talk to a server: %q", found)
	}
	for _, name := range found {
		if !slices.Contains(runByOthers, name) && !strings.Contains(string(source), "."+name+"(ctx, ") {
			t.Errorf("%s is not among them", name)
		}
	}
}

// runByOthers are functions that functions in provisioning run.
var runByOthers = []string{
	"Acquire", "AnswersThrough", "Change", "ChangeObjects", "ChangeRights", "OnSession", "Pooling", "ReadShared",
	"RequireSessions", "Retry", "TryLogin",
}

// talking returns the names of the exported functions that have a context and a server as
// parameters, or are methods of the server, sorted.
func talking(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, directory := range provisions {
		files, err := filepath.Glob(filepath.Join(directory, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declared := range file.Decls {
				if f, ok := declared.(*ast.FuncDecl); ok && f.Name.IsExported() && talks(f) {
					names = append(names, f.Name.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func talks(f *ast.FuncDecl) bool {
	var parameters []string
	for _, field := range f.Type.Params.List {
		parameters = append(parameters, types.ExprString(field.Type))
	}
	if f.Recv != nil {
		parameters = append(parameters, types.ExprString(f.Recv.List[0].Type))
	}
	return slices.Contains(parameters, "context.Context") &&
		(slices.Contains(parameters, "*Server") || slices.Contains(parameters, "*pgclient.Server"))
}

// A planted is a server on which other roles created an object for each name that is used: in
// the databases shop and maintenance, and in all that are created later.
type planted struct {
	*sandbox.Server
	config pgclient.Config // of a superuser called administrator
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
	return planted{s, pgclient.Config{Host: s.Host, Port: s.Port, Username: "administrator", Password: s.Password, Database: "maintenance"}}
}

// calls returns the calls of planted objects.
func (p planted) calls(t *testing.T) (calls []string) {
	t.Helper()
	for _, database := range p.Query(t, "postgres", "SELECT datname FROM pg_database WHERE datname IN ('shop', 'maintenance', 'template1') ORDER BY 1") {
		calls = append(calls, p.Query(t, database, "SELECT last_value, is_called FROM planted.calls")...)
	}
	return calls
}

// run runs all of provisioning, and checks that nothing planted was called.
func (p planted) run(t *testing.T) {
	t.Helper()
	p.requireTraps(t)
	before := p.calls(t)
	for what, act := range provisioning {
		t.Run(what, func(t *testing.T) {
			server := pgtest.Server(t, p.config)
			if err := act(t.Context(), server, p); err != nil {
				t.Error(pgclient.Explain(err))
			}
		})
	}
	if after := p.calls(t); !slices.Equal(after, before) {
		t.Errorf("something was called: %v, before %v", after, before)
	}
}

// requireTraps checks that a session without precautions does call planted objects.
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

// provisioning are the functions that talk to a server, in groups that leave nothing behind.
var provisioning = map[string]func(ctx context.Context, server *pgclient.Server, p planted) error{
	"users": func(ctx context.Context, server *pgclient.Server, p planted) error {
		u := postgres.User{Name: "stitch", Login: true, ConnectionLimit: 3, ValidUntil: "2040-01-01T00:00:00Z", Replication: true, Parameters: map[string]string{"work_mem": "8MB"}}
		_, created := postgres.CreateUser(ctx, server, u, &postgres.Password{Text: p.Password, Encryption: postgres.SCRAM})
		_, read := postgres.ReadUser(ctx, server, "stitch")
		_, planned := postgres.ReadUser(ctx, server.Planning(), "stitch")
		u.ConnectionLimit, u.Replication = 4, false
		_, updated := postgres.UpdateUser(ctx, server, u, nil)
		return errors.Join(created, read, planned, updated,
			privilege.GrantSource(ctx, server, privilege.SourceGrants{Database: "shop", User: "stitch", Schemas: []string{"public"}}),
			postgres.DropUser(ctx, server, "stitch", postgres.DropOptions{ReassignOwnedTo: "application", TerminateSessions: true}))
	},
	"adoption": func(ctx context.Context, server *pgclient.Server, p planted) error {
		u, password := postgres.User{Name: "left", Login: true, ConnectionLimit: -1}, &postgres.Password{Text: p.Password, Encryption: postgres.SCRAM}
		d := postgres.Database{Name: "left", Owner: "administrator", ConnectionLimit: -1}
		c := postgres.Schema{Database: "shop", Name: "left", Owner: "administrator"}
		_, user := postgres.CreateUser(ctx, server, u, password)
		_, database := postgres.CreateDatabase(ctx, server, d, "")
		_, schema := postgres.CreateSchema(ctx, server, c)
		_, refusals, adoptedUser := postgres.AdoptUser(ctx, server, u, password)
		_, others, adoptedDatabase := postgres.AdoptDatabase(ctx, server, d, "")
		_, more, adoptedSchema := postgres.AdoptSchema(ctx, server, c)
		err := errors.Join(user, database, schema, adoptedUser, adoptedDatabase, adoptedSchema)
		if refusals = slices.Concat(refusals, others, more); len(refusals) > 0 {
			err = errors.Join(err, fmt.Errorf("refused: %q", refusals))
		}
		return errors.Join(err, postgres.DropSchema(ctx, server, "shop", "left", false), postgres.DropDatabase(ctx, server, "left", postgres.DatabaseDrop{Tables: true}),
			postgres.DropUser(ctx, server, "left", postgres.DropOptions{}))
	},
	"a user that owns something": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		var dependents *postgres.DependentsError
		if err := postgres.DropUser(ctx, server, "application", postgres.DropOptions{}); !errors.As(err, &dependents) || !strings.Contains(err.Error(), "billing.payments") {
			return errors.Join(errors.New("want a refusal that lists what it owns"), err)
		}
		return nil
	},
	"source grants": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		g := privilege.SourceGrants{Database: "shop", User: "reader", Schemas: []string{"public", "billing"}, FutureTables: true}
		less := privilege.SourceGrants{Database: "shop", User: "reader", Schemas: []string{"public"}, Tables: []relation.TableName{{Schema: "public", Name: "orders"}}}
		granted := privilege.GrantSource(ctx, server, g)
		_, drift := privilege.SourceDrift(ctx, server, g)
		_, planned := privilege.SourceDrift(ctx, server.Planning(), g)
		_, read := privilege.ReadSourceGrants(ctx, server, "shop", "reader")
		return errors.Join(granted, drift, planned, read, privilege.UpdateSource(ctx, server, g, less), privilege.RevokeSource(ctx, server, less))
	},
	"destination grants": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		g := privilege.DestinationGrants{Database: "shop", User: "reader", SystemCatalogs: true}
		granted := privilege.GrantDestination(ctx, server, g)
		_, drift := privilege.DestinationDrift(ctx, server, g)
		less := privilege.DestinationGrants{Database: "shop", User: "reader"}
		return errors.Join(granted, drift, privilege.UpdateDestination(ctx, server, g, less), privilege.RevokeDestination(ctx, server, less))
	},
	"readers": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		r, readers := privilege.Reading{Resource: "shop", Schema: "public", Tables: []string{"orders"}}, []string{"reader"}
		change := func(tx pgx.Tx) error {
			undo, err := privilege.ClaimReading(ctx, server, tx, r, readers)
			if err != nil {
				return err
			}
			defer undo()
			_, given := privilege.ReleaseReading(ctx, server, tx, r, readers)
			return errors.Join(given, privilege.LockRights(ctx, server, tx, "shop"))
		}
		return privilege.Serialize(ctx, server, "shop", func() error {
			return server.OnConn(ctx, "shop", func(conn *pgx.Conn) error { return pgclient.InTx(ctx, conn, change) })
		})
	},
	"databases": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		d := postgres.Database{Name: "analytics", Owner: "application", ConnectionLimit: -1, Comment: "mine"}
		_, created := postgres.CreateDatabase(ctx, server, d, "")
		_, read := postgres.ReadDatabase(ctx, server, "analytics")
		_, planned := postgres.ReadDatabase(ctx, server.Planning(), "analytics")
		d.Comment, d.ConnectionLimit = "", 5
		return errors.Join(created, read, planned, postgres.UpdateDatabase(ctx, server, d),
			postgres.DropDatabase(ctx, server, "analytics", postgres.DatabaseDrop{Tables: true, Sessions: true}))
	},
	"a database that holds something": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		var contents *postgres.ContentsError
		if err := postgres.DropDatabase(ctx, server, "shop", postgres.DatabaseDrop{}); !errors.As(err, &contents) {
			return errors.Join(errors.New("want a refusal that lists its tables"), err)
		}
		return nil
	},
	"a database in use": func(ctx context.Context, server *pgclient.Server, p planted) error {
		conn, err := pgx.Connect(ctx, p.URL("template1"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		var busy *postgres.SessionsError
		if _, err = postgres.CreateDatabase(ctx, server, postgres.Database{Name: "copy", ConnectionLimit: -1}, ""); !errors.As(err, &busy) {
			return errors.Join(errors.New("want a refusal that names the session"), err)
		}
		return nil
	},
	"schemas": func(ctx context.Context, server *pgclient.Server, p planted) error {
		c := postgres.Schema{Database: "shop", Name: "mine", Owner: "application", Comment: "mine"}
		_, created := postgres.CreateSchema(ctx, server, c)
		_, read := postgres.ReadSchema(ctx, server, "shop", "mine")
		_, planned := postgres.ReadSchema(ctx, server.Planning(), "shop", "mine")
		c.Comment = ""
		refusal := postgres.DropSchema(ctx, server, "shop", "billing", false)
		var contents *postgres.ContentsError
		if errors.As(refusal, &contents) {
			refusal = nil
		}
		return errors.Join(created, read, planned, postgres.UpdateSchema(ctx, server, c), refusal, postgres.DropSchema(ctx, server, "shop", "mine", true))
	},
	"what a plan foresees": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		_, role := server.RoleIdentity(ctx, "application")
		_, database := server.DatabaseIdentity(ctx, "shop")
		_, losses := postgres.Losses(ctx, server, "shop", "")
		var tables, contents *postgres.ContentsError
		err := errors.Join(role, database, losses)
		if refusal := postgres.TablesOf(ctx, server, "shop"); !errors.As(refusal, &tables) {
			err = errors.Join(err, errors.New("want its tables listed"), refusal)
		}
		if refusal := postgres.ContentsOf(ctx, server, "shop", "billing"); !errors.As(refusal, &contents) {
			err = errors.Join(err, errors.New("want its contents listed"), refusal)
		}
		return err
	},
	"structure": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		orders := []relation.TableName{{Schema: "public", Name: "orders"}}
		_, tables := relation.Read(ctx, server, "shop", orders)
		_, relations := relation.List(ctx, server, "shop", []string{"public"})
		return errors.Join(tables, relations, server.OnConn(ctx, "shop", func(conn *pgx.Conn) error {
			_, types := relation.ReadTypeSet(ctx, conn)
			return errors.Join(types, pgclient.InTx(ctx, conn, func(tx pgx.Tx) error {
				_, err := relation.ReadRelations(ctx, tx, orders, true)
				return err
			}))
		}))
	},
	"checks": func(ctx context.Context, server *pgclient.Server, _ planted) error {
		_, plain := preflight.CheckConnection(ctx, server, preflight.ConnectionCheck{})
		_, source := preflight.CheckConnection(ctx, server, preflight.ConnectionCheck{Database: "shop", Use: preflight.UseAsSource, Schemas: []string{"public"}, Tables: map[relation.TableName]string{{Schema: "public", Name: "orders"}: "at"}})
		_, destination := preflight.CheckConnection(ctx, server, preflight.ConnectionCheck{Database: "shop", Use: preflight.UseAsDestination, Schemas: []string{"billing"}})
		return errors.Join(plain, source, destination)
	},
	"locks": func(ctx context.Context, server *pgclient.Server, p planted) error {
		conn, err := pgx.Connect(ctx, p.URL("shop"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		if err := privilege.HoldRightsLock(ctx, server, conn, "shop"); err != nil {
			return err
		}
		warned := errors.New("no warning")
		g := privilege.SourceGrants{Database: "shop", User: "reader", Schemas: []string{"public"}}
		granted := privilege.GrantSource(ctx, server.Warning(func(w pgclient.Warning) {
			if strings.Contains(w.Detail, fmt.Sprint("pid ", conn.PgConn().PID())) {
				warned = nil
			}
		}), g)
		err = errors.Join(granted, warned, privilege.RevokeSource(ctx, server, g))
		timeout := &pgconn.PgError{Code: pgclient.LockNotAvailable, Message: "timeout"}
		for _, named := range []error{
			server.AddHolders(ctx, "shop", pgclient.Contention{Schema: "billing", Owner: "application"}, timeout),
			server.NameHolders(ctx, "shop", "public", timeout),
		} {
			if strings.Contains(named.Error(), "caught") {
				err = errors.Join(err, named)
			}
		}
		return err
	},
}
