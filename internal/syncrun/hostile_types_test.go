package syncrun

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// A source whose catalogs lie about how a type is written does not influence what the
// destination executes: its superuser has no privileges there.
func TestTypesThatLie(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another statement": `integer); CREATE TABLE public.planted AS SELECT session_user; --`,
		"another column":    `integer, planted integer`,
		"a default":         `integer DEFAULT 7`,
		"a constraint":      `integer REFERENCES planted`,
		"a modifier":        `integer(7); CREATE TABLE public.planted ()`,
		"another type":      `serial`,
		"words":             `interval day to second(3) primary key`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandbox.Shared(t, 0)
			e := newEnv(t, s, s)
			e.atSource(t, `
				CREATE EXTENSION cube;
				CREATE TABLE t (id bigint PRIMARY KEY, v int, a int[], c cube, i interval day to second(3));
				INSERT INTO t VALUES (1, 2, '{3}', '(5)', '6 days');
				ALTER FUNCTION pg_catalog.format_type(oid, int) RENAME TO honest;
				CREATE FUNCTION pg_catalog.format_type(oid, int) RETURNS text LANGUAGE sql STABLE AS $f$
					SELECT CASE WHEN $1 IN ('int'::regtype, 'int[]'::regtype, 'interval'::regtype) THEN `+pgclient.Literal(text)+`
						WHEN $1 = 'public.cube'::regtype AND $2 IS NOT NULL THEN 'public.cube' || `+pgclient.Literal(text)+`
						ELSE pg_catalog.honest($1, $2) END
				$f$`)
			s.Exec(t, e.destinationDatabase, `CREATE EXTENSION cube; GRANT CREATE ON SCHEMA public TO `+e.writer)
			e.definition.Tables["public.t"] = definition.Selection{Method: definition.FullTable}
			e.create(t)
			e.run(t)
			e.wantRows(t, `SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
				WHERE attrelid = 'shop.t'::regclass AND attnum > 0 AND attname NOT LIKE '\_sdc%' ORDER BY 1`,
				"a text[]", "c text", "i text", "id bigint", "v text")
			e.wantRows(t, `SELECT v, a, c, i FROM shop.t`, strings.Join([]string{"2", "{3}", "(5)", "6 days"}, "|"))
			e.wantRows(t, `SELECT relname FROM pg_class WHERE relname = 'planted'`)
		})
	}
}
