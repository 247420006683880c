package privilege

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A Login says what the login of a server entry may do in a database.
type Login struct {
	access *access
	role   effectiveRole
}

// ReadLogin reads a Login, with the relations of some schemas.
func ReadLogin(ctx context.Context, tx pgx.Tx, schemas []string) (Login, error) {
	a, err := readAccess(ctx, tx, orEmpty(schemas))
	if err != nil {
		return Login{}, err
	}
	return Login{access: a, role: a.effective(a.login)}, nil
}

// Connects reports whether the login may connect to the database.
func (l Login) Connects() bool { return l.role.may("CONNECT", "DATABASE", l.access.database) }

// Uses reports whether a schema exists, and whether the login may use it.
func (l Login) Uses(schema string) (may, exists bool) {
	on, exists := l.access.schemas[schema]
	return exists && l.role.may("USAGE", "SCHEMA", on), exists
}

// Unread returns the relations of a schema of which the login may not read even single columns,
// sorted. Relations of extensions are left out, as grants leave them out.
func (l Login) Unread(schema string) []string {
	var names []string
	for _, r := range l.lacks(scope{whole: []string{schema}}) {
		if !l.readsColumns(relation.TableName{Schema: r.Schema, Name: r.Name}) {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// readsColumns reports whether the login may read at least some columns of a relation, which is
// enough for a replication of these columns.
func (l Login) readsColumns(t relation.TableName) bool {
	for _, column := range l.access.columns[t] {
		if l.role.may("SELECT", "TABLE", column) {
			return true
		}
	}
	return false
}

// A FutureRead is SELECT on the tables that one role will create in one schema.
type FutureRead struct {
	Schema, Creator string
	Held            bool
	Remedy          string // SQL that grants it
}

// FutureReads returns the future reads that source grants with future tables would consist of.
func (l Login) FutureReads(schemas []string) []FutureRead {
	var all []FutureRead
	change := "GRANT SELECT ON TABLES TO " + pgclient.Ident(l.role.name(l.role.oid))
	for _, d := range l.access.wanted(l.role, schemas) {
		all = append(all, FutureRead{
			Schema: d.schema, Creator: l.access.name(d.creator), Held: l.access.hasDefault(l.role, d),
			Remedy: l.access.defaultStatement([]defaultRight{d}, change),
		})
	}
	return all
}

// LoadLacks returns what destination grants with the system catalogs would include and the login
// may not do.
func LoadLacks(ctx context.Context, tx pgx.Tx) ([]Right, error) {
	sc := DestinationGrants{SystemCatalogs: true}.scope()
	l, err := ReadLogin(ctx, tx, sc.reads())
	if err != nil {
		return nil, err
	}
	return l.lacks(sc), nil
}

func (l Login) lacks(sc scope) []Right {
	var all []Right
	for _, r := range l.access.rights(sc, func(privilege, kind string, on object) bool { return !l.role.may(privilege, kind, on) }) {
		all = append(all, r.Right)
	}
	return all
}
