-- One line for each role, database, schema and relation that there is, and for
-- each right that somebody has on one. Rights are those in effect, whether or
-- not the catalogs spell them out.
WITH names AS (
	SELECT oid, rolname AS name FROM pg_catalog.pg_roles
	UNION ALL
	SELECT 0, 'PUBLIC'
), objects AS (
	SELECT 'database ' || pg_catalog.quote_ident(datname) AS name, datdba AS owner,
		coalesce(datacl, pg_catalog.acldefault('d', datdba)) AS acl
	FROM pg_catalog.pg_database
	UNION ALL
	SELECT 'schema ' || pg_catalog.quote_ident(nspname), nspowner, coalesce(nspacl, pg_catalog.acldefault('n', nspowner))
	FROM pg_catalog.pg_namespace
	WHERE nspname !~ '^pg_(toast|temp)'
	UNION ALL
	SELECT 'relation ' || c.oid::pg_catalog.regclass, c.relowner,
		coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::pg_catalog."char", c.relowner))
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp)'
	UNION ALL
	SELECT 'what ' || pg_catalog.quote_ident(r.rolname) || ' creates in ' || coalesce(pg_catalog.quote_ident(n.nspname), 'any schema'), d.defaclrole, d.defaclacl
	FROM pg_catalog.pg_default_acl AS d
	JOIN pg_catalog.pg_roles AS r ON r.oid = d.defaclrole
	LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace
)
SELECT 'role ' || pg_catalog.quote_ident(rolname) || CASE WHEN rolcanlogin THEN ' can log in' ELSE '' END
FROM pg_catalog.pg_roles
UNION ALL
SELECT 'role ' || pg_catalog.quote_ident(r.rolname) || ' has member ' || pg_catalog.quote_ident(m.rolname)
FROM pg_catalog.pg_auth_members AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid
JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
UNION ALL
SELECT o.name || ' is owned by ' || n.name
FROM objects AS o
JOIN names AS n ON n.oid = o.owner
UNION ALL
SELECT o.name || ' lets ' || n.name || ' ' || a.privilege_type
FROM objects AS o
CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a
JOIN names AS n ON n.oid = a.grantee
ORDER BY 1
