package catalog

// shapeSQL describes all that the schema $1 holds and what is attached to it from elsewhere:
// whatever could run, or change what the engine's statements do. It must not call to_jsonb or
// a cast on values whose types others may define: that may run their code.
const shapeSQL = `
	WITH s AS (
		SELECT n.oid, n.nspowner AS owner, n.nspacl AS acl
		FROM pg_catalog.pg_namespace AS n
		WHERE n.nspname = $1
	), c AS (
		SELECT c.oid, c.relname AS name, pg_catalog.quote_ident($1) || '.' || pg_catalog.quote_ident(c.relname) AS sql, c.relkind AS kind, c.relpersistence AS persistence, c.relowner AS owner, c.reloftype AS typed,
			c.relrowsecurity AS rowsecurity, c.relforcerowsecurity AS forced, c.relacl AS acl
		FROM s
		JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid AND c.relkind NOT IN ('i', 'I')
	), parts AS (
		SELECT c.name AS about, 'pg_catalog.pg_class'::pg_catalog.regclass AS classid, c.oid AS objid FROM c
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
		FROM c
		JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid
		FROM c
		JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
		FROM c
		JOIN pg_catalog.pg_constraint AS k ON k.conrelid = c.oid
	), attached AS (
		SELECT c.name AS about, 'pg_catalog.pg_trigger'::pg_catalog.regclass AS classid, t.oid AS objid
		FROM c
		JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid
		FROM c
		JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid
		FROM c
		JOIN pg_catalog.pg_policy AS p ON p.polrelid = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, x.oid
		FROM c
		JOIN pg_catalog.pg_statistic_ext AS x ON x.stxrelid = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_class'::pg_catalog.regclass, i.inhrelid
		FROM c
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_class'::pg_catalog.regclass, i.inhparent
		FROM c
		JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid
		UNION ALL
		SELECT c.name, 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid -- of others' tables
		FROM c
		JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND t.tgconstraint <> 0
		JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint AND k.conrelid NOT IN (SELECT c.oid FROM c)
		UNION ALL
		SELECT p.about, d.refclassid, d.refobjid
		FROM parts AS p
		JOIN pg_catalog.pg_depend AS d ON d.classid = p.classid AND d.objid = p.objid
		WHERE d.refclassid NOT IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_namespace'::pg_catalog.regclass)
	), granted AS (
		SELECT '' AS about, a.privilege_type AS privilege, 'SCHEMA ' || pg_catalog.quote_ident($1) AS object, a.grantee
		FROM s
		CROSS JOIN LATERAL pg_catalog.aclexplode(s.acl) AS a
		WHERE a.grantee <> s.owner AND a.privilege_type <> 'USAGE'
		UNION ALL
		SELECT c.name, a.privilege_type, CASE c.kind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END || ' ' || c.sql, a.grantee
		FROM c
		CROSS JOIN LATERAL pg_catalog.aclexplode(c.acl) AS a
		WHERE a.grantee <> c.owner AND a.privilege_type <> 'SELECT'
		UNION ALL
		SELECT c.name, a.privilege_type || ' (' || pg_catalog.quote_ident(t.attname) || ')', 'TABLE ' || c.sql, a.grantee
		FROM c
		JOIN pg_catalog.pg_attribute AS t ON t.attrelid = c.oid
		CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) AS a
		WHERE a.grantee <> c.owner AND a.privilege_type <> 'SELECT'
	)
	SELECT '' AS about, pg_catalog.concat_ws(' ', o.type, o.identity) AS fact, '' AS undo
	FROM s
	JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = s.oid
	CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS o
	WHERE d.classid <> 'pg_catalog.pg_class'::pg_catalog.regclass AND o.type NOT IN ('default acl', 'publication namespace')
	UNION ALL
	SELECT c.name, pg_catalog.concat_ws(' ', 'kind', CASE WHEN c.persistence <> 'p' THEN 'unlogged' END, o.type, CASE WHEN c.typed <> 0 THEN 'of a type' END,
		CASE WHEN c.rowsecurity THEN 'with row security' END, CASE WHEN c.forced THEN 'with forced row security' END,
		CASE WHEN c.owner <> s.owner THEN 'of ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.owner)) END), ''
	FROM c
	CROSS JOIN s
	CROSS JOIN LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_class'::pg_catalog.regclass, c.oid, 0) AS o
	UNION ALL
	SELECT c.name, pg_catalog.concat_ws(' ', 'column', pg_catalog.quote_ident(a.attname), pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(t.typname), nullif(a.atttypmod, -1),
		CASE WHEN a.attcollation <> t.typcollation THEN 'collated' END,
		CASE WHEN a.attnotnull THEN 'not null' END, CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::pg_catalog.text END, CASE WHEN g.generated <> '' THEN 'generated' END,
		'default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ''
	FROM (VALUES (''::pg_catalog."char")) AS before12 (attgenerated)
	CROSS JOIN c
	JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.kind <> 'S'
	JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
	JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
	CROSS JOIN LATERAL (SELECT attgenerated FROM pg_catalog.pg_attribute AS x WHERE x.attrelid = a.attrelid AND x.attnum = a.attnum) AS g (generated)
	LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	UNION ALL
	SELECT c.name, 'constraint ' || pg_catalog.pg_get_constraintdef(k.oid), ''
	FROM c
	JOIN pg_catalog.pg_constraint AS k ON k.conrelid = c.oid AND k.contype <> 'n'
	UNION ALL
	SELECT c.name, pg_catalog.concat_ws(' ', CASE WHEN i.indisunique THEN 'unique' END, 'index',
		pg_catalog.substr(pg_catalog.pg_get_indexdef(i.indexrelid), pg_catalog.length(pg_catalog.concat('CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, 'INDEX ', pg_catalog.quote_ident(x.relname), '  ')))), ''
	FROM c
	JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid
	JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
	UNION ALL
	SELECT c.name, pg_catalog.concat_ws(' ', 'sequence of', q.seqtypid::pg_catalog.regtype, 'start', q.seqstart, 'increment', q.seqincrement, 'from', q.seqmin, 'to', q.seqmax, 'cycle', q.seqcycle), ''
	FROM c
	JOIN pg_catalog.pg_sequence AS q ON q.seqrelid = c.oid
	UNION ALL
	SELECT a.about, pg_catalog.concat_ws(' ', o.type, o.identity), ''
	FROM attached AS a
	CROSS JOIN LATERAL pg_catalog.pg_identify_object(a.classid, a.objid, 0) AS o
	UNION ALL
	SELECT g.about, pg_catalog.format('%s on %s granted to %s', g.privilege, g.object, x.grantee), pg_catalog.format('REVOKE %s ON %s FROM %s', g.privilege, g.object, x.grantee)
	FROM granted AS g
	LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = g.grantee
	CROSS JOIN LATERAL (SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(r.rolname) END) AS x (grantee)
	WHERE r.rolsuper IS DISTINCT FROM true`
