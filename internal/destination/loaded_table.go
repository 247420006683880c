package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// Statements on a loaded table run the code that is attached to it, with the privileges of
// the role that loads, and in a session that can return to its login. So, apart from
// superusers, only the role that loads may be able to attach code: it owns the table and all
// code that statements on it reach. No other role may be able to put another table in its
// place, as the owner of the schema can, even while the table is locked (ALTER SCHEMA ...
// RENAME). Only the role itself, and the roles that may act as it, are trusted.

// A loadedTable describes the code that statements on a table would run.
type loadedTable struct {
	Loader        string   `json:"loader"`         // the role that loads
	SchemaOwner   string   `json:"schema_owner"`   // "" if there is no schema
	SchemaTrusted bool     `json:"schema_trusted"` // its owner could load as well, or is a superuser
	Kind          string   `json:"kind"`           // relkind, "" if there is no table
	Owner         string   `json:"owner"`
	Parents       []string `json:"parents"`  // tables that it is a child or partition of
	Children      []string `json:"children"` // tables that are its children or partitions
	Uses          []use    `json:"uses"`     // of what other roles own
}

// A use is another role's code that statements on a table run, or can be made to run.
type use struct {
	Object string `json:"object"` // what is attached to the table: "trigger audit on shop.orders"
	Code   string `json:"code"`   // "function public.audit()", a domain, or a table that rules or foreign keys write to
	Owner  string `json:"owner"`  // "" if it is built in, and does more than compute a value
}

func (u use) String() string {
	if u.Owner == "" {
		return fmt.Sprintf("%s: %s, which can run SQL or change the session or the server", u.Object, u.Code)
	}
	return fmt.Sprintf("%s: %s of %q", u.Object, u.Code, u.Owner)
}

// queueHarmless reads, by a batch, whether the table has anything that code could be attached
// to, or is in a schema of another role. Few tables have, and listing all that can be
// attached takes long. The answer holds while the transaction has locked the table in ROW
// EXCLUSIVE mode.
func queueHarmless(batch *pgx.Batch, target relation.TableName, into *bool) {
	batch.Queue(harmlessSQL, target.Schema, target.Name).QueryRow(func(row pgx.Row) error { return row.Scan(into) })
}

// refuseCode makes sure that writing to a table that is not harmless runs no code of other
// roles.
func refuseCode(ctx context.Context, tx pgx.Tx, target relation.TableName, harmless bool) error {
	if harmless {
		return nil
	}
	var facts []byte
	if err := tx.QueryRow(ctx, loadedTableSQL, target.Schema, target.Name).Scan(&facts); err != nil {
		return fmt.Errorf("read what is attached to %s: %w", target, err)
	}
	var t loadedTable
	if err := json.Unmarshal(facts, &t); err != nil {
		return fmt.Errorf("read what is attached to %s: %w", target, err)
	}
	return t.refusal(target)
}

// lockLoaded locks a table for writing until the transaction ends, and makes sure that
// writing to it runs no code of other roles.
func lockLoaded(ctx context.Context, tx pgx.Tx, target relation.TableName) error {
	var harmless bool
	err := pgclient.Send(ctx, tx, fmt.Sprintf("lock %s", target), func(batch *pgx.Batch) {
		batch.Queue("LOCK TABLE ONLY " + target.SQL() + " IN ROW EXCLUSIVE MODE")
		queueHarmless(batch, target, &harmless)
	})
	if err != nil {
		return err
	}
	return refuseCode(ctx, tx, target, harmless)
}

// refusal returns why nothing is loaded into the table, or nil. MapColumns reports kinds of
// relations that cannot be loaded at all.
func (t loadedTable) refusal(target relation.TableName) error {
	loader := pgclient.Ident(t.Loader)
	if t.SchemaOwner != "" && !t.SchemaTrusted {
		return fmt.Errorf("load %s: schema %q of the destination belongs to %q. That role can replace the table with one whose code would run with the rights of %q. "+
			"Make the role that loads the owner of the schema: ALTER SCHEMA %s OWNER TO %s", target, target.Schema, t.SchemaOwner, t.Loader, pgclient.Ident(target.Schema), loader)
	}
	if t.Kind == "" {
		return nil
	}
	if t.Owner != t.Loader {
		return fmt.Errorf("load %s: the table in the destination belongs to %q. That role can attach code to it that would run with the rights of %q. "+
			"Make the role that loads its owner (ALTER TABLE %s OWNER TO %s), or rename the table: then the next run creates a new one", target, t.Owner, t.Loader, target.SQL(), loader)
	}
	if len(t.Parents) > 0 {
		return fmt.Errorf("load %s: the table in the destination is a child or a partition of %s. The owner of that table can attach code to it. "+
			"Detach it (ALTER TABLE ... NO INHERIT, or DETACH PARTITION), or rename it: then the next run creates a new one", target, strings.Join(t.Parents, ", "))
	}
	if len(t.Children) > 0 {
		return fmt.Errorf("load %s: the table in the destination has children or partitions: %s. Their rows and code would take part in the load. "+
			"Detach them (ALTER TABLE ... NO INHERIT, or DETACH PARTITION), or rename the table: then the next run creates a new one", target, strings.Join(t.Children, ", "))
	}
	if len(t.Uses) == 0 {
		return nil
	}
	lines := make([]string, len(t.Uses))
	for i, u := range t.Uses {
		lines[i] = "\n  - " + u.String()
	}
	return fmt.Errorf("load %s: code is attached to the table in the destination. A load would run it with the rights of %q, which does not own it:%s\n"+
		"Drop what is attached, or rename the table: then the next run creates a new one. Code of another role can stay if you make the role that loads its owner (ALTER ... OWNER TO %s): it then runs with that role's rights",
		target, t.Loader, strings.Join(lines, ""), loader)
}

// harmlessSQL reports whether the schema $1 belongs to the role that loads, and whether the
// table $2 in it, if it exists, belongs to that role too and has nothing but columns of
// built-in types and indexes on them.
const harmlessSQL = `
	SELECT EXISTS (
		SELECT
		FROM pg_catalog.pg_namespace AS n
		JOIN pg_catalog.pg_roles AS l ON l.rolname = current_user AND l.oid = n.nspowner
		WHERE n.nspname = $1 AND NOT EXISTS (
			SELECT
			FROM pg_catalog.pg_class AS c
			WHERE c.relnamespace = n.oid AND c.relname = $2 AND (
				c.relkind <> 'r' OR c.relowner <> l.oid OR c.reloftype <> 0
				OR c.relhastriggers OR c.relhasrules OR c.relhassubclass OR c.relispartition OR c.relrowsecurity
				OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid)
				OR EXISTS (SELECT FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = c.oid)
				OR EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid)
				OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = c.oid)
				OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype NOT IN ('n', 'p', 'u'))
				OR EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
				OR EXISTS (
					SELECT
					FROM pg_catalog.pg_depend AS d
					WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
						AND (d.objid = c.oid OR d.objid IN (SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid))
						AND d.refclassid NOT IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_namespace'::pg_catalog.regclass)))))`

// loadedTableSQL reads the facts about the table $2 of the schema $1, as JSON. It follows
// pg_depend to functions, by way of operators, operator classes, types and their constraints.
// It starts from all that is attached to the table, and to the tables that its rules and the
// foreign keys on it write to. Built-in objects have no entries in pg_depend.
const loadedTableSQL = `
	WITH RECURSIVE loader AS (
		SELECT r.oid, r.rolname AS name
		FROM pg_catalog.pg_roles AS r
		WHERE r.rolname = current_user
	), peers (oid) AS ( -- who may act as the loader, or may let themselves do so
		SELECT l.oid FROM loader AS l
		UNION
		SELECT m.member
		FROM peers AS p
		CROSS JOIN (VALUES (true, true)) AS before16 (set_option, inherit_option) -- what they are below where memberships have none
		CROSS JOIN LATERAL (
			SELECT g.member
			FROM pg_catalog.pg_auth_members AS g
			WHERE g.roleid = p.oid AND (set_option OR inherit_option OR g.admin_option)
		) AS m
	), schema AS (
		SELECT n.oid, o.oid AS owner, o.rolname AS owner_name,
			o.rolsuper OR o.oid IN (SELECT p.oid FROM peers AS p)
				OR o.rolcreaterole AND pg_catalog.current_setting('server_version_num')::int < 160000 AS trusted
		FROM pg_catalog.pg_namespace AS n
		JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
		WHERE n.nspname = $1
	), target AS (
		SELECT c.oid, c.relkind AS kind, c.relowner AS owner
		FROM schema AS s
		JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid
		WHERE c.relname = $2
	), reached (oid, how, via) AS (
		SELECT t.oid, 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, t.oid FROM target AS t
		UNION
		SELECT x.oid, x.how, x.via
		FROM reached AS r
		CROSS JOIN LATERAL (
			SELECT k.conrelid, 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid
			FROM pg_catalog.pg_trigger AS g
			JOIN pg_catalog.pg_constraint AS k ON k.oid = g.tgconstraint AND k.confrelid = r.oid
			WHERE g.tgrelid = r.oid AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
			UNION ALL
			SELECT d.refobjid, d.classid, d.objid
			FROM pg_catalog.pg_rewrite AS w
			JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
			WHERE w.ev_class = r.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
			UNION ALL
			SELECT i.inhrelid, 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, i.inhrelid
			FROM pg_catalog.pg_inherits AS i
			WHERE i.inhparent = r.oid
		) AS x (oid, how, via)
	), attached (classid, objid) AS (
		SELECT x.classid, x.objid
		FROM (SELECT DISTINCT r.oid FROM reached AS r) AS r
		CROSS JOIN LATERAL (
			SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid = r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, g.oid FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, w.oid FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class = r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid FROM pg_catalog.pg_policy AS p WHERE p.polrelid = r.oid
			UNION ALL
			SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = r.oid
		) AS x (classid, objid)
	), uses (how, via, classid, objid) AS (
		SELECT a.classid, a.objid, a.classid, a.objid FROM attached AS a
		UNION
		SELECT u.how, u.via, x.classid, x.objid
		FROM uses AS u
		CROSS JOIN LATERAL (
			SELECT d.refclassid, d.refobjid
			FROM pg_catalog.pg_depend AS d
			WHERE d.classid = u.classid AND d.objid = u.objid AND d.refclassid IN (
				'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
				'pg_catalog.pg_opclass'::pg_catalog.regclass, 'pg_catalog.pg_opfamily'::pg_catalog.regclass)
				AND u.classid <> 'pg_catalog.pg_proc'::pg_catalog.regclass
			UNION ALL
			SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid -- of a domain
			FROM pg_catalog.pg_constraint AS k
			WHERE u.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND k.contypid = u.objid
			UNION ALL
			SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, t.typrelid -- of a composite type
			FROM pg_catalog.pg_type AS t
			WHERE u.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = u.objid AND t.typrelid <> 0
			UNION ALL
			SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, o.amopopr
			FROM pg_catalog.pg_amop AS o
			WHERE u.classid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass AND o.amopfamily = u.objid
			UNION ALL
			SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, o.amproc
			FROM pg_catalog.pg_amproc AS o
			WHERE u.classid = 'pg_catalog.pg_opfamily'::pg_catalog.regclass AND o.amprocfamily = u.objid
		) AS x (classid, objid)
	), foreign_code AS (
		SELECT u.how, u.via, u.classid, u.objid, p.proowner AS owner
		FROM uses AS u
		JOIN pg_catalog.pg_proc AS p ON u.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = u.objid
		WHERE p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
		UNION
		SELECT u.how, u.via, u.classid, u.objid, t.typowner
		FROM uses AS u
		JOIN pg_catalog.pg_type AS t ON u.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = u.objid
		WHERE t.typtype = 'd' -- its owner can give it a constraint at any time
		UNION
		SELECT r.how, r.via, 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, c.relowner
		FROM reached AS r
		JOIN pg_catalog.pg_class AS c ON c.oid = r.oid
		WHERE r.oid NOT IN (SELECT t.oid FROM target AS t)
	), trees (how, via, tree) AS (
		SELECT u.how, u.via, x.tree::pg_catalog.text
		FROM uses AS u
		CROSS JOIN LATERAL (
			SELECT d.adbin FROM pg_catalog.pg_attrdef AS d WHERE u.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.oid = u.objid
			UNION ALL
			SELECT k.conbin FROM pg_catalog.pg_constraint AS k WHERE u.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = u.objid
			UNION ALL
			SELECT g.tgqual FROM pg_catalog.pg_trigger AS g WHERE u.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND g.oid = u.objid
			UNION ALL
			SELECT v.tree
			FROM pg_catalog.pg_rewrite AS w
			CROSS JOIN LATERAL (VALUES (w.ev_qual), (w.ev_action)) AS v (tree)
			WHERE u.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = u.objid
			UNION ALL
			SELECT v.tree
			FROM pg_catalog.pg_policy AS p
			CROSS JOIN LATERAL (VALUES (p.polqual), (p.polwithcheck)) AS v (tree)
			WHERE u.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = u.objid
			UNION ALL
			SELECT v.tree
			FROM pg_catalog.pg_index AS i
			CROSS JOIN LATERAL (VALUES (i.indexprs), (i.indpred)) AS v (tree)
			WHERE u.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = u.objid
		) AS x (tree)
	), doing AS ( -- built-in functions that do more than compute a value, such as run SQL that they are given as text
		SELECT DISTINCT t.how, t.via, p.oid
		FROM trees AS t
		CROSS JOIN LATERAL pg_catalog.regexp_matches(t.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([0-9]+)', 'g') AS m (groups)
		JOIN pg_catalog.pg_proc AS p ON p.oid = m.groups[1]::pg_catalog.oid
		WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND (p.proname LIKE '%\_to\_xml%' OR p.provolatile = 'v' AND p.proname NOT IN (
			'nextval', 'currval', 'lastval', 'random', 'random_normal', 'gen_random_uuid', 'uuidv4', 'uuidv7',
			'clock_timestamp', 'timeofday', 'timezone', 'current_query'))
	)
	SELECT pg_catalog.jsonb_build_object(
		'loader', l.name::pg_catalog.text,
		'schema_owner', coalesce(s.owner_name::pg_catalog.text, ''),
		'schema_trusted', coalesce(s.trusted, false),
		'kind', coalesce(t.kind::pg_catalog.text, ''),
		'owner', coalesce(pg_catalog.pg_get_userbyid(t.owner)::pg_catalog.text, ''),
		'parents', coalesce((
			SELECT pg_catalog.jsonb_agg(i.inhparent::pg_catalog.regclass::pg_catalog.text ORDER BY i.inhseqno)
			FROM pg_catalog.pg_inherits AS i
			WHERE i.inhrelid = t.oid), '[]'),
		'children', coalesce((
			SELECT pg_catalog.jsonb_agg(c.name ORDER BY c.name)
			FROM (
				SELECT i.inhrelid::pg_catalog.regclass::pg_catalog.text AS name
				FROM pg_catalog.pg_inherits AS i
				WHERE i.inhparent = t.oid
				ORDER BY i.inhrelid
				LIMIT 5
			) AS c), '[]'),
		'uses', coalesce((
			SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('object', f.object, 'code', f.code, 'owner', f.owner) ORDER BY f.object, f.code)
			FROM (
				SELECT DISTINCT pg_catalog.concat_ws(' ', v.type, v.identity) AS object, pg_catalog.concat_ws(' ', o.type, o.identity) AS code, r.rolname::pg_catalog.text AS owner
				FROM foreign_code AS f
				JOIN pg_catalog.pg_roles AS r ON r.oid = f.owner
				CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.how, f.via, 0) AS v
				CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.classid, f.objid, 0) AS o
				WHERE f.owner <> l.oid AND NOT r.rolsuper
				UNION ALL
				SELECT pg_catalog.concat_ws(' ', v.type, v.identity), pg_catalog.concat_ws(' ', 'function', o.identity), ''
				FROM doing AS d
				CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.how, d.via, 0) AS v
				CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_proc'::pg_catalog.regclass, d.oid, 0) AS o
				ORDER BY object, code
				LIMIT 5
			) AS f), '[]'))
	FROM loader AS l
	LEFT JOIN schema AS s ON true
	LEFT JOIN target AS t ON true`
