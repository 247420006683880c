package privilege

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// run runs all statements or, if the server refuses one, none.
func (p rightsPlan) run(ctx context.Context, tx pgx.Tx) error {
	if len(p.refused) > 0 {
		return &forbiddenError{statements: p.refused}
	}
	return execAll(ctx, tx, p.sql)
}

// A forbiddenError lists the changes that this login lacks the privileges for, as SQL for a role
// that has them.
type forbiddenError struct{ statements []string }

func (e *forbiddenError) Error() string {
	return "the login of this server entry is not allowed to do all of this. Nothing was changed. " +
		"Use an entry whose username owns these objects or is a member of their owners, or ask an administrator to run:\n  " +
		strings.Join(e.statements, ";\n  ") + ";"
}

// claiming runs f, which grants what it claims for a resource by claim. If f fails, the claims
// are those from before.
func claiming(s *pgclient.Server, f func(claim func(*access, scope)) error) error {
	undo := func() {}
	err := f(func(a *access, sc scope) {
		undo() // of an earlier attempt
		undo = rightsMemoryOf(s).granted.record(claim{place: a.place, scope: sc})
	})
	if err != nil {
		undo()
	}
	return err
}

// grantRights claims the privileges of a scope, and then grants those that the user was not
// granted yet.
func grantRights(ctx context.Context, tx pgx.Tx, sc scope, claim func(*access, scope)) error {
	a, err := readAccess(ctx, tx, orEmpty(sc.reads()))
	if err != nil {
		return err
	}
	user, err := a.requireUser(sc.user)
	if err != nil {
		return err
	}
	claim(a, sc)
	plan, err := a.planGrants(user, sc)
	if err != nil {
		return err
	}
	return plan.run(ctx, tx)
}

// revokeRights revokes the privileges of a scope, whichever role granted them, except those that
// other resources of this configuration claim.
func revokeRights(ctx context.Context, s *pgclient.Server, tx pgx.Tx, sc scope) error {
	return revoke(ctx, tx, sc, false, func(a *access) []scope { return rightsMemoryOf(s).granted.others(a.place, sc) })
}

// revokeOptions revokes the grant options on the privileges of a scope.
func revokeOptions(ctx context.Context, tx pgx.Tx, sc scope) error {
	return revoke(ctx, tx, sc, true, func(*access) []scope { return nil })
}

func revoke(ctx context.Context, tx pgx.Tx, sc scope, option bool, kept func(*access) []scope) error {
	var before []columnGrant
	for attempt := 1; ; attempt++ {
		a, err := readAccess(ctx, tx, orEmpty(sc.reads()))
		if err != nil {
			return err
		}
		user, err := a.requireUser(sc.user)
		if err != nil {
			return err
		}
		sc.othersClaims = kept(a)
		if attempt == 1 {
			before = a.columnGrants(user)
		}
		plan := a.planRevokes(user, sc, option, attempt)
		if len(plan.sql) == 0 && len(plan.refused) == 0 {
			return a.planColumnGrants(user, sc, before).run(ctx, tx)
		}
		if err := plan.run(ctx, tx); err != nil {
			return a.explainDependents(user, sc, err)
		}
	}
}

// explainDependents says to whom the user has passed on the privileges that were to be revoked.
func (a *access) explainDependents(user effectiveRole, sc scope, err error) error {
	items, sql := a.passedOn(user, sc)
	if pgclient.Code(err) != pgclient.DependentObjectsStillExist || len(items) == 0 {
		return err
	}
	return pgclient.Advise(fmt.Errorf("%w\n%s has granted these privileges to other roles:%s", err, pgclient.Ident(sc.user), pgclient.List(items)),
		fmt.Sprintf("Revoke these grants first. Ask a superuser or a member of %[1]s to run in database %[2]q:\n  SET ROLE %[1]s;\n  %[3]s;\n  RESET ROLE;",
			pgclient.Ident(sc.user), a.databaseName, strings.Join(pgclient.First(sql), ";\n  ")))
}

// revokeAgain runs f, which revokes privileges that other grants needed before. Two sessions
// that revoke at the same time, without taking turns, each see the grants that the other session
// is about to revoke. The session that commits last finds here that those grants are gone.
func revokeAgain(ctx context.Context, s *pgclient.Server, database string, f func(pgx.Tx) error) error {
	return serializeChange(ctx, s, database, pgclient.Contention{}, f)
}

// orEmpty prevents nil from being sent as NULL, which would mean all.
func orEmpty(names []string) []string { return append([]string{}, names...) }

// revokeUsage revokes USAGE on those of some schemas in which other grants leave the user
// nothing to read.
func revokeUsage(ctx context.Context, s *pgclient.Server, tx pgx.Tx, sc scope) error {
	a, err := readAccess(ctx, tx, orEmpty(sc.schemas))
	if err != nil {
		return err
	}
	user, err := a.requireUser(sc.user)
	if err != nil {
		return err
	}
	return revokeRights(ctx, s, tx, scope{user: sc.user, resource: sc.resource, schemas: without(sc.schemas, a.readSchemas(user))})
}

// revokeConnect revokes CONNECT, unless other grants to the user in this database would be of no
// use without it.
func revokeConnect(ctx context.Context, s *pgclient.Server, tx pgx.Tx, sc scope) error {
	for _, schemas := range [][]string{{}, nil} { // all schemas are read only if that matters
		a, err := readAccess(ctx, tx, schemas)
		if err != nil {
			return err
		}
		user, err := a.requireUser(sc.user)
		if err != nil || !a.database.grantedTo(user.oid, "CONNECT") || a.needsConnect(user) {
			return err
		}
	}
	return revokeRights(ctx, s, tx, scope{user: sc.user, resource: sc.resource, database: []string{"CONNECT"}})
}
