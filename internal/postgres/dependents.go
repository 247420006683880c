package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

const (
	namedDatabases  = 8  // whose objects an error names; those of others are only counted
	namedDependents = 10 // in each of them
	namingTimeout   = 15 * time.Second
)

// Dependents are the objects of one database or, if Database is "", of the server that keep a
// user from being dropped.
type Dependents struct {
	Database string
	Count    int
	Names    []string // some of them, such as "owner of table public.orders"
	inside   bool     // some are inside the database; otherwise the dependent is the database itself
}

const dependenceSQL = `
	CASE d.deptype
		WHEN 'o' THEN 'owner of '
		WHEN 'a' THEN 'privileges for '
		WHEN 'r' THEN 'named by '
		ELSE 'needed by '
	END || pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)`

// Objects of the server can be described from every database; objects inside a database, only
// from there.
const dependentsSQL = `
	SELECT coalesce(inside.datname, itself.datname, ''),
	       pg_catalog.count(*),
	       coalesce(pg_catalog.array_agg(` + dependenceSQL + ` ORDER BY d.classid, d.objid) FILTER (WHERE d.dbid = 0), '{}'),
	       pg_catalog.bool_or(d.dbid <> 0)
	FROM pg_catalog.pg_shdepend AS d
	JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
	LEFT JOIN pg_catalog.pg_database AS inside ON inside.oid = d.dbid
	LEFT JOIN pg_catalog.pg_database AS itself
		ON itself.oid = d.objid AND d.dbid = 0 AND d.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
	WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
	  AND r.rolname = $1
	  AND (d.dbid = 0 OR inside.oid IS NOT NULL)
	GROUP BY 1
	ORDER BY 1`

func dependentsOf(ctx context.Context, tx pgx.Tx, user string) ([]Dependents, error) {
	rows, _ := tx.Query(ctx, dependentsSQL, user)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d Dependents, err error) {
		err = row.Scan(&d.Database, &d.Count, &d.Names, &d.inside)
		return d, err
	})
}

const dependentNamesSQL = `
	SELECT ` + dependenceSQL + `
	FROM pg_catalog.pg_shdepend AS d
	JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
	JOIN pg_catalog.pg_database AS b ON b.oid = d.dbid
	WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
	  AND r.rolname = $1
	  AND b.datname = pg_catalog.current_database()
	ORDER BY d.deptype DESC, d.classid, d.objid
	LIMIT $2`

// describe adds the names of the objects inside databases, as far as it can read them: it
// ignores errors, because its caller reports one already.
func describe(ctx context.Context, s *pgclient.Server, user string, dependents []Dependents) []Dependents {
	ctx, cancel := context.WithTimeout(ctx, namingTimeout)
	defer cancel()
	described := slices.Clone(dependents)
	for i, d := range described[:min(len(described), namedDatabases)] {
		if !d.inside {
			continue
		}
		_ = s.InTx(ctx, d.Database, func(tx pgx.Tx) error {
			rows, _ := tx.Query(ctx, dependentNamesSQL, user, namedDependents)
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			described[i].Names = slices.Concat(d.Names, names)
			return err
		})
	}
	return described
}

// areDropping reports whether this process is dropping every database that something of the user
// is in.
func areDropping(s *pgclient.Server, dependents []Dependents) bool {
	return !slices.ContainsFunc(dependents, func(d Dependents) bool { return !s.IsDropping(d.Database) })
}

// onServer reports whether something depends on the user that no drop of a database will remove.
func onServer(dependents []Dependents) bool {
	return slices.ContainsFunc(dependents, func(d Dependents) bool { return d.Database == "" })
}

// A DependentsError says that a user was not dropped because objects depend on it.
type DependentsError struct {
	User       string
	Dependents []Dependents
	Err        error // the server's error; DependentsError says the rest of its text better
}

func dependentsError(ctx context.Context, s *pgclient.Server, user string, dependents []Dependents, refusal error) error {
	if len(dependents) == 0 { // such as PostgreSQL's own roles, for which no dependents are recorded
		return refusal
	}
	return &DependentsError{User: user, Dependents: describe(ctx, s, user, dependents), Err: refusal}
}

func (e *DependentsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "drop database user %q: %v", e.User, e.Err)
	for _, d := range e.Dependents {
		where := "the server"
		if d.Database != "" {
			where = fmt.Sprintf("database %q", d.Database)
		}
		fmt.Fprintf(&b, "\n  %s: %s", where, d)
	}
	b.WriteString(e.advice())
	return b.String()
}

// String lists the dependents that have a name and counts the rest.
func (d Dependents) String() string {
	rest := d.Count - len(d.Names)
	switch {
	case len(d.Names) == 0:
		return fmt.Sprintf("%d objects or privileges", d.Count)
	case rest > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(d.Names, ", "), rest)
	}
	return strings.Join(d.Names, ", ")
}

func (e *DependentsError) advice() string {
	user := pgclient.Ident(e.User)
	var b strings.Builder
	b.WriteString("\nThe provider does not change or drop any of these by itself. To give the objects to another role and revoke the user's privileges, " +
		"set reassign_owned_to to that role, apply, and destroy the user again. Or, to give the objects to the login of this server entry, run")
	for _, d := range e.Dependents {
		if d.inside {
			fmt.Fprintf(&b, "\n  in database %q: REASSIGN OWNED BY %s TO CURRENT_USER; DROP OWNED BY %s;", d.Database, user, user)
		}
	}
	if !slices.ContainsFunc(e.Dependents, func(d Dependents) bool { return d.inside }) {
		fmt.Fprintf(&b, "\n  in any database: REASSIGN OWNED BY %s TO CURRENT_USER; DROP OWNED BY %s;", user, user)
	}
	fmt.Fprintf(&b, "\nand destroy the user again. A login that is not a superuser needs GRANT %s TO CURRENT_USER first.", user)
	return b.String()
}
