package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A user that objects depend on stays, and the error says which objects and what to do: with one
// connection, even if its default database is not the one that they are in.
func TestDropUserRefused(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		name, here, there := s.Role(t), s.Database(t), s.Database(t)
		s.Exec(t, here, "CREATE SCHEMA shop AUTHORIZATION "+name+"; CREATE TABLE shop.orders (); ALTER TABLE shop.orders OWNER TO "+name)
		s.Exec(t, there, "CREATE TABLE public.t (); GRANT SELECT ON public.t TO "+name+"; GRANT CONNECT ON DATABASE "+there+" TO "+name)
		config := pgtest.Superuser(s)
		config.MaxConnections = 1
		config.Database = here

		err := DropUser(t.Context(), pgtest.Server(t, config), name, DropOptions{})
		var dependents *DependentsError
		if !errors.As(err, &dependents) {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{
			`database "` + here + `": `, "owner of schema shop", "owner of table shop.orders",
			`database "` + there + `": `, "privileges for table public.t", "privileges for database " + there,
			`in database "` + here + `": REASSIGN OWNED BY "` + name + `" TO CURRENT_USER; DROP OWNED BY "` + name + `";`,
			`in database "` + there + `": REASSIGN`,
		} {
			if !strings.Contains(pgclient.Explain(err), want) {
				t.Errorf("the error lacks %q:\n%s", want, pgclient.Explain(err))
			}
		}

		// The advice works.
		s.Exec(t, here, `REASSIGN OWNED BY "`+name+`" TO CURRENT_USER; DROP OWNED BY "`+name+`"`)
		s.Exec(t, there, `REASSIGN OWNED BY "`+name+`" TO CURRENT_USER; DROP OWNED BY "`+name+`"`)
		if err := DropUser(t.Context(), pgtest.Server(t, config), name, DropOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// Terraform destroys a user and a database with its objects at the same time.
func TestDropUserWaitsForItsDatabases(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name, database := s.Role(t), s.DatabaseName(t)
	s.Exec(t, "postgres", "CREATE DATABASE "+database+" OWNER "+name+" TEMPLATE template0")
	s.Exec(t, database, "CREATE TABLE public.t (); ALTER TABLE public.t OWNER TO "+name)
	config := pgtest.Superuser(s)
	config.MaxConnections = 1
	servers := pgtest.Servers(t, map[string]pgclient.Config{"a": config, "b": config})

	dropped := make(chan error, 1)
	go func() { dropped <- DropUser(t.Context(), servers["a"], name, DropOptions{}) }()
	time.Sleep(dropGrace / 2) // the drop begins late, under another entry,
	end := servers["b"].BeginDrop(database)
	time.Sleep(dropGrace) // and takes longer than the grace period
	if err := DropDatabase(t.Context(), servers["b"], database, DatabaseDrop{Tables: true}); err != nil {
		t.Fatal(err)
	}
	end()
	if err := <-dropped; err != nil {
		t.Error(err)
	}
}

// Waiting ends when Terraform is interrupted, and does not begin if dropping databases would not
// remove all dependents.
func TestDropUserDoesNotWait(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	server := pgtest.Server(t, pgtest.Superuser(s))

	name, database := s.Role(t), s.Database(t)
	s.Exec(t, database, "CREATE SCHEMA x AUTHORIZATION "+name)
	ctx, cancel := context.WithTimeout(t.Context(), dropPause)
	defer cancel()
	if err := DropUser(ctx, server, name, DropOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}

	began := time.Now()
	err := DropUser(t.Context(), server, s.Username, DropOptions{})
	if err == nil || time.Since(began) > dropGrace {
		t.Errorf("dropping the login itself took %v: %v", time.Since(began), err)
	}
}

func TestDependentsString(t *testing.T) {
	for want, d := range map[string]Dependents{
		"3 objects or privileges": {Count: 3},
		"a, b":                    {Count: 2, Names: []string{"a", "b"}},
		"a, b and 5 more":         {Count: 7, Names: []string{"a", "b"}},
	} {
		if got := d.String(); got != want {
			t.Errorf("%+v: got %q, want %q", d, got, want)
		}
	}
}
