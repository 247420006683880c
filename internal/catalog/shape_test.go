package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// The shapes are what the migrations make, on every major version. After a change to
// the latest migration, STITCH_SHAPES=write makes this test write its shape.
func TestShapes(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		conn := connect(t, s, s.Database(t), "")
		files, err := fs.Glob(migrations, "migrations/*.sql")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		inTx(t, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), "SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
				return err
			}
			if err := create(t.Context(), tx); err != nil {
				return err
			}
			for i, file := range files {
				sql, err := migrations.ReadFile(file)
				if err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), string(sql)); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				var have shape
				if err := send(t.Context(), tx, func(batch *pgx.Batch) { queueShape(batch, &have) }); err != nil {
					return err
				}
				if i == len(files)-1 && os.Getenv("STITCH_SHAPES") == "write" {
					var text bytes.Buffer
					for _, f := range have {
						fmt.Fprintln(&text, f)
					}
					if err := os.WriteFile(fmt.Sprintf("migrations/%03d.shape", i+1), text.Bytes(), 0o644); err != nil {
						return err
					}
					continue
				}
				want, err := shapeAfter(i + 1)
				if err != nil {
					return err
				}
				if err := have.refusal(want); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
			return nil
		})
	})
}

func TestShapeRefusal(t *testing.T) {
	ours := shape{{About: "version", Text: "kind table"}, {About: "version", Text: "column version pg_catalog.int4 not null"}}
	for name, tt := range map[string]struct {
		have shape
		want []string // parts of the error; none if there is none
	}{
		"as it is to be":      {ours, nil},
		"a relation more":     {append(shape{{About: "v", Text: "kind view"}, {About: "v", Text: "column a"}}, ours...), []string{"Not created by this provider:\n  - v: kind view\nUndo"}},
		"a function more":     {append(shape{{Text: "function _stitch.f()"}}, ours...), []string{"\n  - function _stitch.f()\n"}},
		"a column less":       {ours[:1], []string{"Missing or changed:\n  - version: column version pg_catalog.int4 not null\nUndo"}},
		"nothing":             {nil, []string{"Missing or changed:\n  - version: kind table\nUndo"}},
		"a right of others":   {append(shape{{About: "version", Text: "UPDATE on TABLE _stitch.version granted to m", Undo: "REVOKE UPDATE ON TABLE _stitch.version FROM m"}}, ours...), []string{"granted to m", "(REVOKE UPDATE ON TABLE _stitch.version FROM m;)"}},
		"more than one reads": {append(make(shape, 12), ours...), []string{"and 4 more"}},
	} {
		err := tt.have.refusal(ours)
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, part := range tt.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got %v\nwant %q in it", name, err, part)
			}
		}
	}
}

// What does no harm is left unchanged.
func TestHarmless(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, reader := newMinedCatalog(t, s)
		conn := connect(t, s, database, "")
		for _, sql := range []string{
			"GRANT USAGE ON SCHEMA _stitch TO {r}; GRANT SELECT ON ALL TABLES IN SCHEMA _stitch TO {r} WITH GRANT OPTION; GRANT SELECT ON ALL SEQUENCES IN SCHEMA _stitch TO PUBLIC",
			"GRANT ALL ON ALL TABLES IN SCHEMA _stitch TO postgres",
			"CREATE PUBLICATION everything FOR ALL TABLES",
			"CREATE VIEW public.reports AS SELECT * FROM _stitch.report; ALTER VIEW public.reports OWNER TO {r}",
			"ALTER DEFAULT PRIVILEGES FOR ROLE {o} IN SCHEMA _stitch GRANT ALL ON TABLES TO {r}",
			"COMMENT ON TABLE _stitch.report IS 'Mine.'; ALTER TABLE _stitch.report ALTER error SET STATISTICS 0; ALTER TABLE _stitch.report SET (fillfactor = 50); ALTER TABLE _stitch.report REPLICA IDENTITY FULL",
			"CREATE UNIQUE INDEX report_pkey_ccnew ON _stitch.report (run, source_table); ALTER INDEX _stitch.report_pkey RENAME TO other", // as REINDEX does
		} {
			if err := underAttack(t, conn, owner, strings.NewReplacer("{r}", reader, "{o}", owner).Replace(sql)); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
		if s.Major >= 15 {
			if err := underAttack(t, conn, owner, "CREATE PUBLICATION part FOR TABLES IN SCHEMA _stitch"); err != nil {
				t.Error(err)
			}
		}
	})
}

// Install does not complete a schema that holds something, but no catalog.
func TestNotACatalog(t *testing.T) {
	s := sandbox.Shared(t, 0)
	for sql, want := range map[string]error{
		"CREATE SCHEMA _stitch": ErrNoCatalog,
		"CREATE SCHEMA _stitch; GRANT USAGE ON SCHEMA _stitch TO PUBLIC": ErrNoCatalog,
		"CREATE SCHEMA _stitch; CREATE TABLE _stitch.mine (id int)":      &ShapeError{},
	} {
		conn := connect(t, s, s.Database(t), "")
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		open := func(f func(context.Context, pgx.Tx) error) error {
			return pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error { return f(t.Context(), tx) })
		}
		err := open(Open)
		var refused *ShapeError
		if errors.Is(want, ErrNoCatalog) && !errors.Is(err, ErrNoCatalog) || errors.As(want, &refused) && !errors.As(err, &refused) {
			t.Errorf("%s: %v", sql, err)
		}
		if err := open(Install); errors.Is(want, ErrNoCatalog) != (err == nil) {
			t.Errorf("%s, then installed: %v", sql, err)
		}
	}
}

// Default privileges let no other role write to a catalog that is installed.
func TestDefaultPrivileges(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		database, owner, other := s.Database(t), s.Role(t), s.Role(t)
		s.Exec(t, database, fmt.Sprintf(`GRANT CREATE ON DATABASE %s TO %s; SET ROLE %[2]s;
			ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO %s; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO %[3]s`, database, owner, other))
		conn := connect(t, s, database, owner)
		install(t, conn)
		inTx(t, conn, func(tx pgx.Tx) error { return Open(t.Context(), tx) })
		rights := `SELECT DISTINCT privilege_type FROM pg_class, aclexplode(relacl) WHERE relnamespace = '_stitch'::regnamespace AND grantee <> relowner`
		if got := s.Query(t, database, rights); len(got) != 1 || got[0] != "SELECT" {
			t.Errorf("others may %q", got)
		}
	})
}
