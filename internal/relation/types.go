package relation

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A Type is a row of pg_type, with the types that it consists of.
type Type struct {
	Schema    string
	Name      string
	SQL       string // as format_type writes it without a modifier
	Kind      string // typtype: b, c, d, e, m, p or r
	Extension string // the extension that it belongs to, or ""
	Output    string // its output function, qualified and quoted
	Sendable  bool   // whether it has a binary form
	Element   *Type  // of an array
	Base      *Type  // of a domain
	BaseSQL   string // of a domain: its base type with the modifier
}

// BuiltIn reports whether the type is one of PostgreSQL's own.
func (t Type) BuiltIn() bool { return t.Schema == "pg_catalog" }

// Holds reports whether values of the type are of the given built-in type, or arrays of it.
func (t Type) Holds(name string) bool {
	for t.Base != nil || t.Element != nil {
		if t.Base != nil {
			t = *t.Base
		} else {
			t = *t.Element
		}
	}
	return t.BuiltIn() && t.Name == name
}

// typesSQL follows the types of columns from domains to their base and from arrays to their
// elements.
const typesSQL = `
	WITH RECURSIVE needed (oid) AS (
		SELECT a.atttypid
		FROM pg_catalog.pg_attribute AS a
		WHERE a.attrelid IN (` + namedSQL + `) AND a.attnum > 0 AND NOT a.attisdropped
		UNION
		SELECT part.oid
		FROM needed
		JOIN pg_catalog.pg_type AS t ON t.oid = needed.oid
		CROSS JOIN LATERAL (VALUES
			(CASE WHEN t.typtype = 'd' THEN t.typbasetype END),
			(CASE WHEN t.typcategory = 'A' AND t.typtype = 'b' THEN t.typelem END)
		) AS part (oid)
		WHERE part.oid <> 0
	)
	SELECT t.oid, n.nspname, t.typname, pg_catalog.format_type(t.oid, NULL), t.typtype::pg_catalog.text,
		coalesce(e.extname, ''), pg_catalog.format('%I.%I', f.nspname, o.proname), t.typsend::pg_catalog.oid <> 0,
		CASE WHEN t.typcategory = 'A' AND t.typtype = 'b' THEN t.typelem ELSE 0 END,
		CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE 0 END,
		CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) ELSE '' END
	FROM needed
	JOIN pg_catalog.pg_type AS t ON t.oid = needed.oid
	JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
	JOIN pg_catalog.pg_proc AS o ON o.oid = t.typoutput
	JOIN pg_catalog.pg_namespace AS f ON f.oid = o.pronamespace
	LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
		AND d.objid = t.oid AND d.deptype = 'e'
	LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
	ORDER BY t.oid`

// scanTypes reads types and the types that they consist of.
func scanTypes(rows pgx.Rows) (map[uint32]Type, error) {
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (t typeRow, err error) {
		err = r.Scan(&t.oid, &t.Schema, &t.Name, &t.SQL, &t.Kind, &t.Extension, &t.Output, &t.Sendable, &t.element, &t.base, &t.BaseSQL)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	return linkTypes(found)
}

// A typeRow is a row of typesSQL. element and base are 0 if there is none.
type typeRow struct {
	Type
	oid, element, base uint32
}

// deepestType is the maximum number of steps from a type to the innermost type that it consists
// of.
const deepestType = 100

// linkTypes links each type to the types that it consists of. It refuses a type that consists of
// itself: following it would never end.
func linkTypes(found []typeRow) (map[uint32]Type, error) {
	madeOf := map[uint32]uint32{}
	byOID := map[uint32]*Type{}
	for i, t := range found {
		madeOf[t.oid] = max(t.element, t.base) // one of them is 0
		byOID[t.oid] = &found[i].Type
	}
	for _, t := range found {
		part := t.oid
		for depth := 0; part != 0 && depth < deepestType; depth++ {
			part = madeOf[part]
		}
		if part != 0 || t.oid == 0 || t.element != 0 && t.base != 0 {
			return nil, fmt.Errorf("the server says that type %s is made of itself, or of too many others", t.SQL)
		}
		byOID[t.oid].Element, byOID[t.oid].Base = byOID[t.element], byOID[t.base]
	}
	types := map[uint32]Type{}
	for oid, t := range byOID {
		types[oid] = *t
	}
	return types, nil
}

// A TypeSet holds the types of a database that columns can have.
type TypeSet map[string]TypeForm

// withoutInput are types whose values PostgreSQL writes but does not read.
var withoutInput = []string{
	"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "gtsvector",
}

// A TypeForm is how a database writes a type, and whether it reads the type's binary form.
type TypeForm struct {
	SQL        string
	Plain      string // for a column without a modifier: bpchar and "bit" differ
	Receivable bool
}

// The owner of an extension can add types to it. Their functions, such as subtype_diff of a
// range, then run with the privileges of the role that loads or analyzes. Only superusers create
// base types. Such a type has a type for arrays of it, and array types have no array type of
// their own.
const typeSetSQL = `
	SELECT coalesce(e.extname, ''), t.typname, pg_catalog.format_type(t.oid, NULL), pg_catalog.format_type(t.oid, -1), t.typreceive::pg_catalog.oid <> 0
	FROM pg_catalog.pg_type AS t
	LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
		AND d.objid = t.oid AND d.deptype = 'e'
	LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
	LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = t.typowner
	WHERE t.typtype IN ('b', 'r', 'm')
		AND (t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
			OR e.oid IS NOT NULL AND (t.typtype = 'b' AND t.typarray <> 0 OR o.rolsuper OR o.rolname IN (current_user, session_user)))
	ORDER BY 1, 2`

// ReadTypeSet reads the built-in types, and those types of extensions that run only code of
// superusers and of the login.
func ReadTypeSet(ctx context.Context, conn *pgx.Conn) (TypeSet, error) {
	types := TypeSet{}
	err := pgclient.Send(ctx, conn, "read types", func(batch *pgx.Batch) {
		batch.Queue(typeSetSQL).Query(func(rows pgx.Rows) error {
			var extension, name string
			var there TypeForm
			_, err := pgx.ForEachRow(rows, []any{&extension, &name, &there.SQL, &there.Plain, &there.Receivable}, func() error {
				types[extension+":"+name] = there
				return nil
			})
			return err
		})
	})
	return types, err
}

// Find returns how the set's database writes the type t of another database, if it has the type:
// a built-in type of that name, or one of the same extension. The other database writes it as
// sql, from which only a modifier is taken. binary reports whether the type has a binary form on
// both sides.
func (set TypeSet) Find(t Type, sql string) (there string, binary, ok bool) {
	if t.Extension == "" && t.Schema != "pg_catalog" {
		return "", false, false
	}
	if t.BuiltIn() && slices.Contains(withoutInput, t.Name) {
		return "", false, false
	}
	form, ok := set[t.Extension+":"+t.Name]
	if !ok {
		return "", false, false
	}
	binary = form.Receivable && t.Sendable
	if t.BuiltIn() {
		return sql, binary, form.writes(sql)
	}
	modifier, ok := strings.CutPrefix(sql, t.SQL)
	return form.SQL + modifier, binary, ok && (modifier == "" || modifierOnly.MatchString(modifier))
}

var (
	modifier       = regexp.MustCompile(`\([A-Za-z0-9_]+(,-?[A-Za-z0-9_]+)*\)`)
	modifierOnly   = regexp.MustCompile(`^` + modifier.String() + `$`)
	intervalFields = regexp.MustCompile(`^interval( (year|month|day|hour|minute|second)( to (month|hour|minute|second))?)?(\([0-9]\))?(\[\])?$`)
)

// writes reports whether the form's database could have written sql itself, for a column of the
// type with some modifier. sql becomes a part of statements there, so text from another server
// must not add anything else to them.
func (f TypeForm) writes(sql string) bool {
	if strings.HasPrefix(f.SQL, "interval") {
		return intervalFields.MatchString(sql)
	}
	plain := sql
	if at := modifier.FindStringIndex(sql); at != nil {
		plain = sql[:at[0]] + sql[at[1]:]
	}
	return plain == f.SQL || plain == f.Plain
}
