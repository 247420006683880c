package privilege

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A Reading is what the readers of a replication may do in its schema: USAGE on it, SELECT on
// its tables and, by default, on future ones.
type Reading struct {
	Resource string // distinguishes the resources that grant; see claims
	Schema   string
	Tables   []string
}

func (r Reading) scope(reader string) scope {
	sc := scope{resource: r.Resource + "\x00" + reader, user: reader, schemas: []string{r.Schema}, future: []string{r.Schema}}
	for _, name := range r.Tables {
		sc.tables = append(sc.tables, relation.TableName{Schema: r.Schema, Name: name})
	}
	return sc
}

// ClaimReading claims for a resource what it is about to grant to readers. undo restores the
// claims from before.
func ClaimReading(ctx context.Context, s *pgclient.Server, tx pgx.Tx, r Reading, readers []string) (undo func(), err error) {
	place, err := placeOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	var undoes []func()
	for _, reader := range readers {
		undoes = append(undoes, rightsMemoryOf(s).granted.record(claim{place: place, scope: r.scope(reader)}))
	}
	return func() {
		for _, undo := range undoes {
			undo()
		}
	}, nil
}

// ReleaseReading forgets what a resource claims for some roles. It returns, for each role, what
// other resources claim there and what therefore must not be revoked.
func ReleaseReading(ctx context.Context, s *pgclient.Server, tx pgx.Tx, r Reading, roles []string) (map[string]OtherGrants, error) {
	place, err := placeOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	kept := map[string]OtherGrants{}
	for _, role := range roles {
		sc := r.scope(role)
		rightsMemoryOf(s).granted.release(sc.resource)
		kept[role] = OtherGrants{r.Schema, rightsMemoryOf(s).granted.others(place, sc)}
	}
	return kept, nil
}

// OtherGrants is what other resources let a role do in a schema.
type OtherGrants struct {
	schema string
	scopes []scope
}

// Usage reports whether they grant USAGE on it.
func (k OtherGrants) Usage() bool {
	return slices.ContainsFunc(k.scopes, func(sc scope) bool { return slices.Contains(sc.schemas, k.schema) })
}

// Table reports whether they let the role read a whole table of it.
func (k OtherGrants) Table(name string) bool {
	alike := relations{names: []string{name}}
	return slices.ContainsFunc(k.scopes, func(sc scope) bool { return len(sc.among(k.schema, alike)) > 0 })
}

// Future reports whether they let the role read future tables.
func (k OtherGrants) Future() bool {
	return slices.ContainsFunc(k.scopes, func(sc scope) bool { return slices.Contains(sc.future, k.schema) })
}

// LockRights makes a transaction that changes privileges take turns with those of other
// processes, and with those of entries that write the server's address differently: see
// lockRights. A lock_timeout applies from then on.
func LockRights(ctx context.Context, s *pgclient.Server, tx pgx.Tx, database string) error {
	_, err := lockRights(ctx, s, tx, database)
	return err
}

// Serialize runs f while no other resource of this process changes privileges in a database: f
// does not revoke what another resource finds granted before that resource has committed.
func Serialize(ctx context.Context, s *pgclient.Server, database string, f func() error) error {
	turn := rightsMemoryOf(s).semaphore(s.Place() + "/" + s.DatabaseName(database))
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return f()
}

// placeSQL is the expression for place in rolesSQL.
const placeSQL = `
	SELECT ` + placeExpression + `
	FROM pg_catalog.pg_database AS b
	WHERE b.datname = pg_catalog.current_database()`

// placeOf returns the place of a transaction's database, which distinguishes it from others.
func placeOf(ctx context.Context, tx pgx.Tx) (place string, err error) {
	if err := tx.QueryRow(ctx, placeSQL).Scan(&place); err != nil {
		return "", fmt.Errorf("identify the database: %w", err)
	}
	return place, nil
}
