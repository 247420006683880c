package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A content is an object of a database. A database that is created has copies of those of
// its template, with the same numbers.
type content struct {
	catalog     uint32 // its oid
	number      uint32 // the oid of the object in it
	description string
}

// contentsLimit is how many objects of a database are read. One that has more is not
// empty, whatever its template holds.
const contentsLimit = 10_000

// contentsSQL lists what somebody made in a database, and whether others may do in
// schema public what they may not in a new one. What hangs on another object of the list is
// left out, as are plpgsql and what temporary tables leave behind.
const contentsSQL = `
	WITH o (catalog, number) AS (
		SELECT tableoid, oid FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_class WHERE relpersistence <> 't'
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_type
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_proc
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_language
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_operator
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_opclass
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_opfamily
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_am
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_cast
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_transform
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_conversion
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_collation
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_config
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_dict
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_parser
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_ts_template
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_foreign_data_wrapper
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_foreign_server
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_event_trigger
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_publication
		UNION ALL SELECT tableoid, oid FROM pg_catalog.pg_default_acl
		UNION ALL SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass, oid FROM pg_catalog.pg_largeobject_metadata
	)
	SELECT o.catalog, o.number, coalesce(pg_catalog.pg_describe_object(o.catalog, o.number, 0), '?')
	FROM o
	WHERE (o.number >= 16384 OR o.catalog = 'pg_catalog.pg_largeobject'::pg_catalog.regclass) -- whose numbers anybody chooses
	  AND NOT EXISTS (
		SELECT
		FROM pg_catalog.pg_depend AS d
		WHERE d.classid = o.catalog
		  AND d.objid = o.number
		  AND d.deptype IN ('a', 'i', 'I', 'e', 'P', 'S')
		  AND d.refobjid >= 16384)
	UNION ALL
	SELECT n.tableoid, n.oid, 'other rights on schema public than a new database has: ' || coalesce(n.nspacl::pg_catalog.text, 'the default ones')
	FROM pg_catalog.pg_namespace AS n
	LEFT JOIN pg_catalog.pg_init_privs AS i
		ON i.objoid = n.oid AND i.classoid = n.tableoid AND i.objsubid = 0
	WHERE n.nspname = 'public'
	  AND n.oid < 16384
	  AND n.nspacl::pg_catalog.text IS DISTINCT FROM i.initprivs::pg_catalog.text
	ORDER BY 1, 2
	LIMIT $1`

// contentsBeyond describes what a database holds and its template does not.
func (s *Server) contentsBeyond(ctx context.Context, name, template string) ([]string, error) {
	contents, err := s.contents(ctx, name)
	if err != nil || len(contents) == 0 {
		return nil, err
	}
	var copied []content
	if template != "template0" && len(contents) <= contentsLimit {
		// Whoever is connected to a template keeps others from copying it.
		defer s.LeaveDatabase(template)
		copied, err = s.contents(ctx, template)
		if IsUnreachable(err) { // it lets nobody in, or not this login
			copied, err = nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	isCopied := make(map[content]bool, len(copied))
	for _, o := range copied {
		isCopied[o] = true
	}
	var beyond []string
	for _, o := range contents {
		if !isCopied[o] {
			beyond = append(beyond, o.description)
		}
	}
	return beyond, nil
}

func (s *Server) contents(ctx context.Context, database string) (all []content, err error) {
	err = s.inTx(ctx, database, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, contentsSQL, contentsLimit+1)
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o content, err error) {
			err = row.Scan(&o.catalog, &o.number, &o.description)
			return o, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read what database %q holds: %w", database, err)
	}
	return all, nil
}
