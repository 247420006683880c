package postgres

// isExtensionsSQL reports of a relation c whether an extension has it that makes it again, so
// that nothing is lost with it. That is not so of a table
//
//   - that was added to the extension later (ALTER EXTENSION ... ADD TABLE): the extension's own
//     script makes it in the transaction in which it makes its other objects;
//   - whose rows pg_dump would save, all of them, because it is registered as one for the
//     data of users (pg_extension_config_dump), and which has ever had some.
//
// Of a table in which only some rows are the users', such as PostGIS's spatial_ref_sys, which
// ones is told by a piece of the extension's SQL, which is not run: it counts as the extension's.
const isExtensionsSQL = `EXISTS (
		SELECT
		FROM pg_catalog.pg_depend AS d
		JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
		WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
		  AND d.objid = c.oid
		  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
		  AND d.deptype = 'e'
		  AND CASE
			WHEN c.relkind NOT IN ('r', 'p', 'm') THEN true
			WHEN c.oid = ANY (e.extconfig) THEN
				e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] <> '' OR pg_catalog.pg_relation_size(c.oid) = 0
			ELSE EXISTS ( -- what stands for its row type was recorded with it
				SELECT
				FROM pg_catalog.pg_depend AS made
				WHERE made.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
				  AND made.refclassid = d.classid
				  AND made.refobjid = c.oid
				  AND made.deptype = 'i'
				  AND made.xmin = d.xmin
			) AND (e.xmin = d.xmin OR EXISTS (
				SELECT
				FROM pg_catalog.pg_depend AS other
				WHERE other.refclassid = d.refclassid
				  AND other.refobjid = e.oid
				  AND other.deptype = 'e'
				  AND other.classid NOT IN (d.classid, 'pg_catalog.pg_type'::pg_catalog.regclass) -- a table's row type is added with it
				  AND other.xmin = d.xmin))
		  END)`
