package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// AdoptDatabase takes over a database that CreateDatabase found to exist, and sets what an
// interrupted creation may not have set: owner and comment. See AdoptUser.
func AdoptDatabase(ctx context.Context, s *pgclient.Server, d Database, template string) (Database, []string, error) {
	defer s.Changed()
	adopted, refusals, err := adoptDatabase(ctx, s, d, template)
	if err != nil {
		return Database{}, nil, fmt.Errorf("adopt database %q: %w", d.Name, err)
	}
	return adopted, refusals, nil
}

func adoptDatabase(ctx context.Context, s *pgclient.Server, d Database, template string) (Database, []string, error) {
	if template == "" {
		template = DefaultTemplate
	}
	found, err := inspectDatabase(ctx, s, d.Name, template)
	if err != nil {
		return Database{}, nil, err
	}
	// A session in a database runs what its owner and its settings say: only enter a database
	// that is ours.
	if refusals := d.refusals(found); len(refusals) > 0 {
		return Database{}, refusals, nil
	}
	contents, err := contentsBeyond(ctx, s, d.Name, template)
	if pgclient.IsUnreachable(err) && pgclient.Code(err) != "" { // the server answers, but does not let this login into the database
		return Database{}, []string{"its contents could not be read: " + err.Error()}, nil
	}
	if err != nil {
		return Database{}, nil, err
	}
	if refusals := contentRefusals(append(contents, found.dependents...)); len(refusals) > 0 {
		return Database{}, refusals, nil
	}
	adopted, err := finishDatabase(ctx, s, d)
	return adopted, nil, err
}

// A foundDatabase is a database that exists, and all that can be known about it without a
// session in it.
type foundDatabase struct {
	Database
	login      string   // of this server entry
	isInitial  bool     // it was created with the server
	properties []string // properties that CreateDatabase never sets, such as IS_TEMPLATE
	rights     []string // privileges that were granted on it, or revoked
	settings   []string // names of parameters that it sets for its sessions; a value may be a secret
	dependents []string // objects that belong to it, or privileges in it, beyond those of the template
	template   Database
}

// refusals returns why a database that exists is not taken over for d, whatever it holds.
func (d Database) refusals(found foundDatabase) []string {
	var lines []string
	if found.isInitial {
		lines = append(lines, "it came with the server")
	}
	owner := d.Owner
	if owner == "" {
		owner = found.login
	}
	if found.Owner != owner && found.Owner != found.login { // the login creates the database and then gives it away
		lines = append(lines, fmt.Sprintf("owner is %q, not %q", found.Owner, owner))
	}
	created := d.created(found.template)
	for _, fixed := range []struct{ attribute, want, have string }{
		{"encoding", created.Encoding, found.Encoding},
		{"lc_collate", created.LCCollate, found.LCCollate},
		{"lc_ctype", created.LCCtype, found.LCCtype},
		{"locale_provider", created.LocaleProvider, found.LocaleProvider},
		{"icu_locale", created.ICULocale, found.ICULocale},
		{"builtin_locale", created.BuiltinLocale, found.BuiltinLocale},
	} {
		if fixed.want != fixed.have {
			lines = append(lines, fmt.Sprintf("%s is %q, not %q", fixed.attribute, fixed.have, fixed.want))
		}
	}
	switch {
	case found.IsInvalid():
		lines = append(lines, "an interrupted DROP DATABASE made it invalid: it accepts no connections")
	case found.ConnectionLimit != d.ConnectionLimit:
		lines = append(lines, fmt.Sprintf("connection_limit is %d, not %d", found.ConnectionLimit, d.ConnectionLimit))
	}
	lines = append(lines, found.properties...)
	for _, right := range found.rights {
		lines = append(lines, "its privileges differ from those of a new database: "+right)
	}
	for _, setting := range found.settings {
		lines = append(lines, "it sets the parameter "+setting)
	}
	return lines
}

// created returns the database with the values that a new one takes from its template.
func (d Database) created(template Database) Database {
	inherit := func(value *string, from string) {
		if *value == "" {
			*value = from
		}
	}
	inherit(&d.Encoding, template.Encoding)
	inherit(&d.LCCollate, template.LCCollate)
	inherit(&d.LCCtype, template.LCCtype)
	inherit(&d.LocaleProvider, template.LocaleProvider)
	if d.LocaleProvider == template.LocaleProvider {
		inherit(&d.ICULocale, template.ICULocale)
		inherit(&d.BuiltinLocale, template.BuiltinLocale)
	}
	return d
}

// contentRefusals describes the contents of a database or schema as reasons to refuse it.
func contentRefusals(objects []string) []string {
	const listed = 10
	var lines []string
	for _, object := range objects[:min(len(objects), listed)] {
		lines = append(lines, "it holds "+object)
	}
	if rest := len(objects) - listed; rest > 0 {
		lines = append(lines, fmt.Sprintf("it holds %d more objects", rest))
	}
	return lines
}

// The query looks up by name the columns that are newer than PostgreSQL 10. What a template
// holds for roles is copied with it.
const foundDatabaseSQL = `
	SELECT current_user::pg_catalog.text,
	       d.oid < 16384 OR d.datname = 'postgres',
	       pg_catalog.array_remove(ARRAY[
	           CASE WHEN d.datistemplate THEN 'it is a template' END,
	           CASE WHEN NOT d.datallowconn THEN 'it allows no connections' END,
	           CASE WHEN d.dattablespace <> t.dattablespace THEN 'it is in another tablespace than its template' END,
	           CASE WHEN (j.d ->> 'dathasloginevt')::pg_catalog.bool THEN 'it has an event trigger for logins' END,
	           CASE WHEN coalesce(j.d ->> 'daticurules', '') NOT IN ('', coalesce(j.t ->> 'daticurules', '')) THEN 'it has ICU rules of its own' END
	       ], NULL),
	       ARRAY(
	           SELECT r.privilege_type || ' for ' || coalesce(pg_catalog.quote_ident(g.rolname), 'PUBLIC') || CASE WHEN pg_catalog.bool_or(r.granted) THEN ' was granted' ELSE ' was revoked' END
	           FROM (
	               SELECT grantee, privilege_type, is_grantable, true FROM pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba)))
	               UNION ALL
	               SELECT grantee, privilege_type, is_grantable, false FROM pg_catalog.aclexplode(pg_catalog.acldefault('d', d.datdba))
	           ) AS r (grantee, privilege_type, is_grantable, granted)
	           LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = r.grantee
	           GROUP BY r.grantee, r.privilege_type, r.is_grantable, g.rolname
	           HAVING pg_catalog.bool_and(r.granted) = pg_catalog.bool_or(r.granted)
	           ORDER BY 1
	       ),
	       ARRAY(
	           SELECT pg_catalog.split_part(pg_catalog.unnest(s.setconfig), '=', 1) || coalesce(' for role ' || pg_catalog.quote_ident(g.rolname), '')
	           FROM pg_catalog.pg_db_role_setting AS s
	           LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = s.setrole
	           WHERE s.setdatabase = d.oid
	           ORDER BY 1
	       ),
	       ARRAY(
	           SELECT CASE h.deptype WHEN 'o' THEN 'something that belongs to role ' ELSE 'something granted to role ' END || pg_catalog.quote_ident(g.rolname)
	           FROM pg_catalog.pg_shdepend AS h
	           JOIN pg_catalog.pg_roles AS g ON g.oid = h.refobjid
	           WHERE h.dbid = d.oid
	             AND h.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
	             AND NOT EXISTS (
	                 SELECT
	                 FROM pg_catalog.pg_shdepend AS o
	                 WHERE o.dbid = t.oid
	                   AND (o.classid, o.objid, o.objsubid, o.refobjid, o.deptype) = (h.classid, h.objid, h.objsubid, h.refobjid, h.deptype))
	           GROUP BY 1
	           UNION ALL
	           SELECT 'subscription ' || pg_catalog.quote_ident(s.subname) FROM pg_catalog.pg_subscription AS s WHERE s.subdbid = d.oid
	           UNION ALL
	           SELECT 'replication slot ' || s.slot_name FROM pg_catalog.pg_replication_slots AS s WHERE s.database = d.datname
	           UNION ALL
	           SELECT 'prepared transaction ' || p.gid FROM pg_catalog.pg_prepared_xacts AS p WHERE p.database = d.datname
	           ORDER BY 1
	       )
	FROM pg_catalog.pg_database AS d
	JOIN pg_catalog.pg_database AS t ON t.datname = $2
	CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(d), pg_catalog.to_jsonb(t)) AS j (d, t)
	WHERE d.datname = $1`

// inspectDatabase reads a database that exists, or returns ErrNotFound.
func inspectDatabase(ctx context.Context, s *pgclient.Server, name, template string) (found foundDatabase, err error) {
	err = s.InTx(ctx, maintenanceDatabase(s, name), func(tx pgx.Tx) error {
		if found.Database, err = database(ctx, tx, name); err != nil {
			return err
		}
		if found.template, err = database(ctx, tx, template); err != nil {
			return fmt.Errorf("read the template %q: %w", template, err)
		}
		err := tx.QueryRow(ctx, foundDatabaseSQL, name, template).Scan(&found.login, &found.isInitial,
			&found.properties, &found.rights, &found.settings, &found.dependents)
		return rowNotFound(err)
	})
	return found, err
}

// A content is an object of a database. A new database has copies of its template's objects,
// with the same numbers.
type content struct {
	catalog     uint32 // the catalog's oid
	number      uint32 // the oid of the object in it
	description string
}

// contentsLimit is how many objects of a database are read. A database with more is not empty,
// whatever its template holds.
const contentsLimit = 10_000

// contentsSQL lists what users created in a database, and whether other roles have privileges on
// schema public that they do not have in a new database. It leaves out objects that depend on
// another object of the list, plpgsql, and remains of temporary tables.
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
	SELECT n.tableoid, n.oid, 'privileges on schema public that differ from those in a new database: ' || coalesce(n.nspacl::pg_catalog.text, 'the default ones')
	FROM pg_catalog.pg_namespace AS n
	LEFT JOIN pg_catalog.pg_init_privs AS i
		ON i.objoid = n.oid AND i.classoid = n.tableoid AND i.objsubid = 0
	WHERE n.nspname = 'public'
	  AND n.oid < 16384
	  AND n.nspacl::pg_catalog.text IS DISTINCT FROM i.initprivs::pg_catalog.text
	ORDER BY 1, 2
	LIMIT $1`

// contentsBeyond describes what a database holds and its template does not.
func contentsBeyond(ctx context.Context, s *pgclient.Server, name, template string) ([]string, error) {
	contents, err := readContents(ctx, s, name)
	if err != nil || len(contents) == 0 {
		return nil, err
	}
	var copied []content
	if template != "template0" && len(contents) <= contentsLimit {
		// A connection to a template keeps other sessions from copying it.
		defer s.CloseIdleIn(template)
		copied, err = readContents(ctx, s, template)
		if pgclient.IsUnreachable(err) { // it accepts no connections, or not from this login
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

func readContents(ctx context.Context, s *pgclient.Server, database string) (all []content, err error) {
	err = s.InTx(ctx, database, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, contentsSQL, contentsLimit+1)
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o content, err error) {
			err = row.Scan(&o.catalog, &o.number, &o.description)
			return o, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the contents of database %q: %w", database, err)
	}
	return all, nil
}
