package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// AdoptDatabase takes over a database that CreateDatabase found to exist, and gives it
// what the creation may not have come to: owner and comment. See AdoptUser.
func (s *Server) AdoptDatabase(ctx context.Context, d Database, template string) (Database, []string, error) {
	defer s.Changed()
	adopted, refusals, err := s.adoptDatabase(ctx, d, template)
	if err != nil {
		return Database{}, nil, fmt.Errorf("adopt database %q: %w", d.Name, err)
	}
	return adopted, refusals, nil
}

func (s *Server) adoptDatabase(ctx context.Context, d Database, template string) (Database, []string, error) {
	if template == "" {
		template = DefaultTemplate
	}
	found, err := s.foundDatabase(ctx, d.Name, template)
	if err != nil {
		return Database{}, nil, err
	}
	// A session in a database runs what its owner and its settings say: only what is ours is entered.
	if refusals := d.refusals(found); len(refusals) > 0 {
		return Database{}, refusals, nil
	}
	contents, err := s.contentsBeyond(ctx, d.Name, template)
	if IsUnreachable(err) && Code(err) != "" { // the server answers, but not there
		return Database{}, []string{"what it holds is not known: " + err.Error()}, nil
	}
	if err != nil {
		return Database{}, nil, err
	}
	if refusals := contentRefusals(append(contents, found.dependents...)); len(refusals) > 0 {
		return Database{}, refusals, nil
	}
	adopted, err := s.finishDatabase(ctx, d)
	return adopted, nil, err
}

// A foundDatabase is a database that exists, and all that can be known of it without
// a session in it.
type foundDatabase struct {
	Database
	login      string   // of this server entry
	isInitial  bool     // it came with the server
	properties []string // that CreateDatabase gives to no database, such as IS_TEMPLATE
	rights     []string // that were granted on it, or taken away
	settings   []string // names of parameters that its sessions begin with; a value may be a secret
	dependents []string // what belongs to it, or is granted in it, beyond what the template has
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
	if found.Owner != owner && found.Owner != found.login { // which it is created by, and then given away
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
		lines = append(lines, "dropping it was interrupted, so that nobody can connect to it")
	case found.ConnectionLimit != d.ConnectionLimit:
		lines = append(lines, fmt.Sprintf("connection_limit is %d, not %d", found.ConnectionLimit, d.ConnectionLimit))
	}
	lines = append(lines, found.properties...)
	for _, right := range found.rights {
		lines = append(lines, "rights on it are not those of a new one: "+right)
	}
	for _, setting := range found.settings {
		lines = append(lines, "it sets the parameter "+setting)
	}
	return lines
}

// created returns the database with what a new one takes from its template.
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

// contentRefusals says what something holds.
func contentRefusals(objects []string) []string {
	const listed = 10
	var lines []string
	for _, object := range objects[:min(len(objects), listed)] {
		lines = append(lines, "it holds "+object)
	}
	if rest := len(objects) - listed; rest > 0 {
		lines = append(lines, fmt.Sprintf("it holds %d more", rest))
	}
	return lines
}

// What came later than PostgreSQL 10 is looked up by name in what there is. What a
// template holds for roles is copied with it.
const foundDatabaseSQL = `
	SELECT current_user::pg_catalog.text,
	       d.oid < 16384 OR d.datname = 'postgres',
	       pg_catalog.array_remove(ARRAY[
	           CASE WHEN d.datistemplate THEN 'it is a template' END,
	           CASE WHEN NOT d.datallowconn THEN 'it allows no connections' END,
	           CASE WHEN d.dattablespace <> t.dattablespace THEN 'it lies in another tablespace than its template' END,
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

// foundDatabase reads a database that exists, or returns ErrNotFound.
func (s *Server) foundDatabase(ctx context.Context, name, template string) (found foundDatabase, err error) {
	err = s.inTx(ctx, s.besides(name), func(tx pgx.Tx) error {
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
