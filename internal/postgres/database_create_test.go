package postgres

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestCreateStatement(t *testing.T) {
	plain := Database{Name: `a"b`, ConnectionLimit: -1}
	libc, icu, builtin := plain, plain, plain
	libc.LocaleProvider = "libc"
	icu.LocaleProvider, icu.ICULocale = "icu", `d'e\`
	builtin.LocaleProvider, builtin.BuiltinLocale = "builtin", "C.UTF-8"

	for name, tt := range map[string]struct {
		d        Database
		major    int
		template string
		want     string
		refused  string
	}{
		"nothing said": {d: plain, major: 10, want: `CREATE DATABASE "a""b"`},
		"all that is old": {
			d: Database{Name: "d", Encoding: "UTF8", LCCollate: "it's", LCCtype: "C", ConnectionLimit: 0}, major: 10, template: "template0",
			want: `CREATE DATABASE "d" TEMPLATE 'template0' ENCODING 'UTF8' LC_COLLATE 'it''s' LC_CTYPE 'C' CONNECTION LIMIT 0`,
		},
		"libc of old":    {d: libc, major: 14, want: `CREATE DATABASE "a""b"`},
		"libc":           {d: libc, major: 15, want: `CREATE DATABASE "a""b" LOCALE_PROVIDER 'libc'`},
		"icu":            {d: icu, major: 15, want: `CREATE DATABASE "a""b" LOCALE_PROVIDER 'icu' ICU_LOCALE E'd''e\\'`},
		"icu of old":     {d: icu, major: 14, refused: `locale_provider = "icu" needs PostgreSQL 15 or newer, but the server is PostgreSQL 14`},
		"builtin":        {d: builtin, major: 17, want: `CREATE DATABASE "a""b" LOCALE_PROVIDER 'builtin' BUILTIN_LOCALE 'C.UTF-8'`},
		"builtin of old": {d: builtin, major: 16, refused: `locale_provider = "builtin" needs PostgreSQL 17 or newer, but the server is PostgreSQL 16`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.d.createStatement(tt.major, tt.template)
			if got != tt.want || tt.refused != "" && (err == nil || err.Error() != tt.refused) {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

// Every way to choose a locale that a server supports is read back as it was chosen.
func TestDatabaseLocales(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		server := pgtest.Server(t, pgtest.Superuser(s))
		latin := plainDatabase(s.DatabaseName(t), s.Username)
		latin.Encoding = "LATIN1"
		choices := []Database{latin}
		if s.Major >= 15 {
			icu := plainDatabase(s.DatabaseName(t), s.Username)
			icu.LocaleProvider, icu.ICULocale = "icu", "de-DE"
			choices = append(choices, icu)
		}
		if s.Major >= 17 {
			builtin := plainDatabase(s.DatabaseName(t), s.Username)
			builtin.LocaleProvider, builtin.BuiltinLocale = "builtin", "C.UTF-8"
			choices = append(choices, builtin)
		}
		for _, want := range choices {
			created, err := CreateDatabase(t.Context(), server, want, "template0")
			if err != nil {
				t.Fatal(err)
			}
			if created != want {
				t.Errorf("created %+v, want %+v", created, want)
			}
			for _, view := range []*pgclient.Server{server, server.Planning()} {
				wantDatabase(t, view, want)
			}
		}
		if _, err := CreateDatabase(t.Context(), server, plainDatabase("never", "nobody at all"), "template0"); err == nil || !strings.Contains(err.Error(), `role "nobody at all" does not exist`) {
			t.Errorf("of nobody: %v", err)
		}
		if s.Query(t, "postgres", "SELECT FROM pg_database WHERE datname = 'never'") != nil {
			t.Error("what could not be given away was left")
		}
		latin.Name = s.DatabaseName(t)
		if _, err := CreateDatabase(t.Context(), server, latin, ""); err == nil || !strings.Contains(pgclient.Explain(err), `Set template = "template0"`) {
			t.Errorf("with another encoding than the template: %v", err)
		}
	})
}

// A database that cannot be created as wanted is dropped again, or reported as left behind.
func TestCreateDatabaseLeavesNothing(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		name, server := s.DatabaseName(t), pgtest.Server(t, pgtest.Superuser(s))
		wrong := Database{Name: name, ConnectionLimit: -1, Comment: "not UTF-8: \xff"}
		left, err := CreateDatabase(t.Context(), server, wrong, "template0")
		if pgclient.Code(err) != "22021" || left != (Database{}) {
			t.Fatalf("got %+v, %v", left, err)
		}
		if s.Query(t, "postgres", "SELECT FROM pg_database WHERE datname = $1", name) != nil {
			t.Error("it was left")
		}

		// A client connects at once, and stays.
		ctx, cancel := context.WithCancel(t.Context())
		connected := make(chan *pgx.Conn)
		go func() {
			defer close(connected)
			for ctx.Err() == nil {
				if conn, err := pgx.Connect(ctx, s.URL(name)); err == nil {
					connected <- conn
					return
				}
			}
		}()
		left, err = CreateDatabase(t.Context(), server, wrong, "template0")
		cancel()
		conn, ok := <-connected
		if !ok {
			if err == nil || left != (Database{}) { // the creation was faster than the clients
				t.Errorf("got %+v, %v", left, err)
			}
			return
		}
		defer conn.Close(context.Background())
		if left.Name != name || !strings.Contains(pgclient.Explain(err), "could not be dropped again") {
			t.Errorf("got %+v, %v", left, err)
		}
	})
}

// However early or late a creation is cancelled, the database either exists and is reported, or
// does not exist.
func TestCreateDatabaseCancelled(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	name, server := s.DatabaseName(t), pgtest.Server(t, pgtest.Superuser(s))
	for timeout := time.Duration(0); timeout < 200*time.Millisecond; timeout += 10 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, err := CreateDatabase(ctx, server, Database{Name: name, ConnectionLimit: -1, Comment: "c"}, "template0")
		cancel()
		there := s.Query(t, "postgres", "SELECT FROM pg_database WHERE datname = $1", name) != nil
		if there != (err == nil) {
			t.Fatalf("after %v: it is there: %t, but %v", timeout, there, err)
		}
		if there {
			if err := DropDatabase(t.Context(), server, name, DatabaseDrop{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCreateDatabaseOfTemplateInUse(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		template := s.Database(t)
		conn, err := pgx.Connect(t.Context(), s.URL(template)+"&application_name=someone")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		_, err = CreateDatabase(t.Context(), pgtest.Server(t, pgtest.Superuser(s)), Database{Name: s.DatabaseName(t), ConnectionLimit: -1}, template)
		var busy *SessionsError
		if !errors.As(err, &busy) {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{"postgres with someone from 127.0.0.1", `template = "template0"`} {
			if !strings.Contains(pgclient.Explain(err), want) {
				t.Errorf("the error lacks %q:\n%s", want, pgclient.Explain(err))
			}
		}
	})
}
