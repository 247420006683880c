package destination

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// What others have attached to a loaded table is found before any of it runs.
func TestForeignCode(t *testing.T) {
	t.Parallel()
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database, loader, mallory := s.Database(t), s.Role(t), s.Role(t)
		s.Exec(t, database, `GRANT CREATE ON DATABASE `+database+` TO `+mallory+`; CREATE SCHEMA shop AUTHORIZATION `+loader+`; CREATE SCHEMA hers AUTHORIZATION `+mallory)
		s.Exec(t, database, `SET SESSION AUTHORIZATION `+mallory+`;`+pgtest.ForeignCodeSQL)
		s.Exec(t, database, `SET SESSION AUTHORIZATION `+loader+`; CREATE TABLE shop.t (id int PRIMARY KEY, v int); INSERT INTO shop.t VALUES (1, 1);
			CREATE FUNCTION shop.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE tg_op WHEN 'DELETE' THEN old ELSE new END; END $$;
			CREATE FUNCTION shop.number() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; CREATE TABLE shop.log (id int)`)
		conn := pgtest.Connect(t, s, database)
		for _, tt := range []struct {
			name, sql, want string // {m} is the other role
			since           int
		}{
			{"as it is loaded", ``, ``, 0},
			{"a trigger", `CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE PROCEDURE evil.fire()`, `trigger planted on shop.t: function evil.fire() of "{m}"`, 0},
			{"a trigger's condition", `CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH ROW WHEN (evil.positive(new.id)) EXECUTE PROCEDURE shop.fire()`, `trigger planted on shop.t: function evil.positive(integer) of "{m}"`, 0},
			{"a rule", `CREATE RULE planted AS ON INSERT TO shop.t DO ALSO SELECT evil.number()`, `rule planted on shop.t: function evil.number() of "{m}"`, 0},
			{"a rule that writes elsewhere", `CREATE RULE planted AS ON INSERT TO shop.t DO ALSO INSERT INTO evil.elsewhere VALUES (1)`, `rule planted on shop.t: table evil.elsewhere of "{m}"`, 0},
			{"a rule that writes to a view", `CREATE VIEW shop.v AS SELECT * FROM evil.elsewhere; CREATE RULE planted AS ON INSERT TO shop.t DO ALSO INSERT INTO shop.v VALUES (1)`, `table evil.elsewhere of "{m}"`, 0},
			{"a check", `ALTER TABLE shop.t ADD CONSTRAINT planted CHECK (evil.positive(v))`, `table constraint planted on shop.t: function evil.positive(integer) of "{m}"`, 0},
			{"an operator", `ALTER TABLE shop.t ADD CONSTRAINT planted CHECK (v OPERATOR(evil.===) v)`, `table constraint planted on shop.t: function evil.same(integer,integer) of "{m}"`, 0},
			{"a default", `ALTER TABLE shop.t ADD planted int DEFAULT evil.number()`, `default value for shop.t.planted: function evil.number() of "{m}"`, 0},
			{"a generated column", `ALTER TABLE shop.t ADD planted int GENERATED ALWAYS AS (evil.number()) STORED`, `: function evil.number() of "{m}"`, 12},
			{"an index on an expression", `CREATE INDEX planted ON shop.t (evil.positive(v))`, `index shop.planted: function evil.positive(integer) of "{m}"`, 0},
			{"a partial index", `CREATE INDEX planted ON shop.t (v) WHERE evil.positive(v)`, `index shop.planted: function evil.positive(integer) of "{m}"`, 0},
			{"an operator class", `CREATE OPERATOR CLASS public.planted FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 evil.compare(int, int);
				CREATE INDEX planted ON shop.t (v public.planted)`, `index shop.planted: function evil.compare(integer,integer) of "{m}"`, 0},
			{"an exclusion constraint", `ALTER TABLE shop.t ADD CONSTRAINT planted EXCLUDE ((evil.positive(v)) WITH =)`, `index shop.planted: function evil.positive(integer) of "{m}"`, 0},
			{"a policy", `CREATE POLICY planted ON shop.t USING (evil.positive(v))`, `policy planted on shop.t: function evil.positive(integer) of "{m}"`, 0},
			{"a domain that checks", `ALTER TABLE shop.t ADD planted evil.checked`, `table shop.t: function evil.positive(integer) of "{m}"`, 0},
			{"a domain that may check", `ALTER TABLE shop.t ADD planted evil.plain`, `table shop.t: type evil.plain of "{m}"`, 0},
			{"an array of a domain", `ALTER TABLE shop.t ADD planted evil.checked[]`, `table shop.t: function evil.positive(integer) of "{m}"`, 11},
			{"a composite type", `ALTER TABLE shop.t ADD planted evil.pair`, `table shop.t: function evil.positive(integer) of "{m}"`, 11},
			{"an array of a composite type", `ALTER TABLE shop.t ADD planted evil.pair[]`, `table shop.t: function evil.positive(integer) of "{m}"`, 11},
			{"a range", `ALTER TABLE shop.t ADD planted evil.span`, `table shop.t: function evil.distance(double precision,double precision) of "{m}"`, 0},
			{"statistics", `CREATE STATISTICS shop.planted ON (evil.positive(v)), id FROM shop.t`, `statistics object shop.planted: function evil.positive(integer) of "{m}"`, 14},
			{"a child", `CREATE TABLE evil.child () INHERITS (shop.t)`, `has children or partitions: evil.child. Their rows`, 0},
			{"a parent", `CREATE TABLE evil.parent (id int NOT NULL, v int); ALTER TABLE shop.t INHERIT evil.parent`, `child or a partition of evil.parent. The owner`, 0},
			{"a partition", `CREATE TABLE evil.parent (id int NOT NULL, v int) PARTITION BY LIST (v); ALTER TABLE evil.parent ATTACH PARTITION shop.t FOR VALUES IN (1)`, `child or a partition of evil.parent. The owner`, 0},
			{"another owner", `ALTER TABLE shop.t OWNER TO {m}`, `belongs to "{m}". That role can attach code`, 0},
			{"a superuser's table", `ALTER TABLE shop.t OWNER TO postgres`, `belongs to "postgres". That role can attach code`, 0},
			{"another's schema", `ALTER SCHEMA shop OWNER TO {m}`, `schema "shop" of the destination belongs to "{m}". That role can`, 0},
			{"another's schema without the table", `DROP TABLE shop.t; ALTER SCHEMA shop OWNER TO {m}`, `schema "shop" of the destination belongs to "{m}". That role can`, 0},
			{"a foreign key that deletes", `CREATE TABLE evil.child (id int REFERENCES shop.t ON DELETE CASCADE); ALTER TABLE evil.child OWNER TO {m}`, `table constraint child_id_fkey on evil.child: table evil.child of "{m}"`, 0},
			{"a foreign key that writes", `CREATE TABLE shop.child (id int REFERENCES shop.t ON UPDATE SET NULL); CREATE TRIGGER planted AFTER UPDATE ON shop.child FOR EACH ROW EXECUTE PROCEDURE evil.fire(); ALTER TABLE shop.child OWNER TO {l}`,
				`trigger planted on shop.child: function evil.fire() of "{m}"`, 0},
			{"SQL as text in a trigger's condition", `CREATE TRIGGER planted BEFORE UPDATE ON shop.t FOR EACH ROW WHEN (query_to_xml('SELECT evil.number()', true, true, '') IS NOT NULL) EXECUTE PROCEDURE suppress_redundant_updates_trigger()`,
				`trigger planted on shop.t: function pg_catalog.query_to_xml(pg_catalog.text,boolean,boolean,pg_catalog.text), which can`, 0},
			{"SQL as text in a check", `ALTER TABLE shop.t ADD CONSTRAINT planted CHECK (v > 0 OR query_to_xml('SELECT evil.number()', true, true, '') IS NULL) NOT VALID`, `table constraint planted on shop.t: function pg_catalog.query_to_xml`, 0},
			{"settings in a default", `ALTER TABLE shop.t ADD planted text; ALTER TABLE shop.t ALTER planted SET DEFAULT set_config('search_path', 'evil', false)`, `default value for shop.t.planted: function pg_catalog.set_config`, 0},
			{"SQL as text in a policy", `CREATE POLICY planted ON shop.t USING (v IN (SELECT ndoc FROM ts_stat('SELECT evil.vector()')))`, `policy planted on shop.t: function pg_catalog.ts_stat`, 0},
			{"a view as text in a rule", `CREATE RULE planted AS ON UPDATE TO shop.t DO ALSO SELECT table_to_xml('evil.v', true, true, '')`, `rule planted on shop.t: function pg_catalog.table_to_xml`, 0},
			{"SQL as text in an own domain", `CREATE DOMAIN shop.d AS int CHECK (query_to_xml('SELECT evil.number()', true, true, '') IS NOT NULL); ALTER DOMAIN shop.d OWNER TO {l}; ALTER TABLE shop.t ADD planted shop.d`, `table shop.t: function pg_catalog.query_to_xml`, 0},

			{"no table", `DROP TABLE shop.t`, ``, 0},
			{"no schema", `DROP SCHEMA shop CASCADE`, ``, 0},
			{"a trigger of the loader", `CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE PROCEDURE shop.fire()`, ``, 0},
			{"a trigger of a superuser", `CREATE FUNCTION public.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$; CREATE TRIGGER planted BEFORE INSERT ON shop.t FOR EACH ROW EXECUTE PROCEDURE public.fire()`, ``, 0},
			{"a built-in trigger", `CREATE TRIGGER planted BEFORE UPDATE ON shop.t FOR EACH ROW EXECUTE PROCEDURE suppress_redundant_updates_trigger()`, ``, 0},
			{"a rule of the loader", `CREATE RULE planted AS ON INSERT TO shop.t DO ALSO INSERT INTO shop.log VALUES (1); CREATE RULE more AS ON UPDATE TO shop.t DO ALSO NOTIFY more`, ``, 0},
			{"built-in code", `ALTER TABLE shop.t ADD CHECK (abs(v) > 0), ADD at timestamptz DEFAULT now(), ADD since timestamptz DEFAULT clock_timestamp(), ADD n serial; CREATE INDEX ON shop.t (lower(v::text) text_pattern_ops)`, ``, 0},
			{"a foreign key that only checks", `CREATE TABLE evil.child (id int REFERENCES shop.t); ALTER TABLE evil.child OWNER TO {m}`, ``, 0},
			{"another's view of it", `CREATE VIEW evil.w AS SELECT id, evil.number() FROM shop.t; ALTER VIEW evil.w OWNER TO {m}`, ``, 0},
			{"another's enum", `CREATE TYPE evil.mood AS ENUM ('sad'); ALTER TYPE evil.mood OWNER TO {m}; ALTER TABLE shop.t ADD mood evil.mood`, ``, 0},
			{"a schema of a superuser", `ALTER SCHEMA shop OWNER TO postgres; GRANT ALL ON SCHEMA shop TO {l}`, ``, 0},
			{"a schema of a member", `ALTER SCHEMA shop OWNER TO {m}; GRANT {l} TO {m}; GRANT ALL ON SCHEMA shop TO {l}`, ``, 0},
			{"a schema of an administrator of the role", `ALTER SCHEMA shop OWNER TO {m}; GRANT {l} TO {m} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; GRANT ALL ON SCHEMA shop TO {l}`, ``, 16},
			{"a schema of a member of no consequence", `ALTER SCHEMA shop OWNER TO {m}; GRANT {l} TO {m} WITH INHERIT FALSE, SET FALSE; GRANT ALL ON SCHEMA shop TO {l}`, `belongs to "{m}". That role can`, 16},
		} {
			if s.Major < tt.since {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				fill := strings.NewReplacer("{m}", mallory, "{l}", loader)
				err := examine(t, conn, loader, fill.Replace(tt.sql))
				if want := fill.Replace(tt.want); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s:\n got %v\nwant %s", tt.sql, err, want)
				}
			})
		}
	})
}

// examine returns the problems of shop.t after a superuser has run some SQL, as runs find
// them, whose sessions compile nothing. It leaves nothing behind.
func examine(t *testing.T, conn *pgx.Conn, loader, sql string) error {
	t.Helper()
	errUndo := errors.New("undo")
	var refused error
	target := relation.TableName{Schema: "shop", Name: "t"}
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		pgtest.Do(t, tx.Conn(), sql+"; SELECT set_config(name, 'off', true) FROM pg_settings WHERE name = 'jit'; SELECT setval('evil.ran', 1, false); SET LOCAL SESSION AUTHORIZATION "+loader)
		var harmless, ran bool
		if err := pgclient.Send(t.Context(), tx, "examine", func(batch *pgx.Batch) { queueHarmless(batch, target, &harmless) }); err != nil {
			return err
		}
		refused = refuseCode(t.Context(), tx, target, false)
		if plain := sql == "" || strings.HasPrefix(sql, "DROP TABLE shop.t"); harmless && refused != nil || plain && harmless != (refused == nil) {
			t.Errorf("%s: harmless is %t", sql, harmless)
		}
		if err := tx.QueryRow(t.Context(), "SELECT is_called FROM evil.ran").Scan(&ran); err != nil || ran {
			t.Errorf("%s: it ran (%v)", sql, err)
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Errorf("%s: %v", sql, err)
		return nil
	}
	return refused
}

func TestLoadedTableRefusal(t *testing.T) {
	t.Parallel()
	ours := loadedTable{Loader: "l", SchemaOwner: "l", SchemaTrusted: true, Kind: "r", Owner: "l"}
	for want, change := range map[string]func(*loadedTable){
		"": func(*loadedTable) {},
		`schema "shop" of the destination belongs to "m". That role can replace the table`:                    func(f *loadedTable) { f.SchemaOwner, f.SchemaTrusted = "m", false },
		`schema "shop" of the destination belongs to "n". That role can replace`:                              func(f *loadedTable) { *f = loadedTable{Loader: "l", SchemaOwner: "n"} },
		`belongs to "m". That role can attach code to it that would run with the rights of "l"`:               func(f *loadedTable) { f.Owner = "m" },
		`is a child or a partition of a.b, c.d. The owner`:                                                    func(f *loadedTable) { f.Parents = []string{"a.b", "c.d"} },
		`has children or partitions: a.b. Their rows`:                                                         func(f *loadedTable) { f.Children = []string{"a.b"} },
		"\n  - trigger x on shop.t: function f() of \"m\"\n  - y: z, which can run SQL or change the session": func(f *loadedTable) { f.Uses = []use{{"trigger x on shop.t", "function f()", "m"}, {"y", "z", ""}} },
	} {
		facts := ours
		change(&facts)
		if err := facts.refusal(relation.TableName{Schema: "shop", Name: "t"}); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v:\n got %v\nwant %s", facts, err, want)
		}
	}
	for name, facts := range map[string]loadedTable{"no schema": {Loader: "l"}, "no table": {Loader: "l", SchemaOwner: "l", SchemaTrusted: true}} {
		if err := facts.refusal(relation.TableName{Schema: "shop", Name: "t"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
