package postgres

import (
	"errors"
	"fmt"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A roleGrant makes the user a member of a role.
type roleGrant struct {
	role, grantor string // the grantor identifies the grant since PostgreSQL 16; before, it is ""
	admin         bool   // with ADMIN OPTION
}

// CheckRoles refuses roles that a user cannot be made a member of, or becomes a member of by
// Replication.
func CheckRoles(user string, roles []string) error {
	for _, role := range roles {
		switch {
		case role == user:
			return errors.New("a user cannot be a member of itself")
		case slices.Contains(replicationRoles, role):
			return fmt.Errorf("membership in %s comes with replication = true: set that instead", role)
		}
	}
	return nil
}

// HasRole reports whether the user was made a member of a role.
func (u User) HasRole(role string) bool {
	return slices.ContainsFunc(u.memberships, func(m roleGrant) bool { return m.role == role })
}

// Excess returns, by name, what a user has beyond what is wanted: attributes, and memberships in
// other roles.
func (u User) Excess(want User) []string {
	items := slices.Clone(u.attributes)
	for _, m := range u.memberships {
		switch {
		case !slices.Contains(want.Roles, m.role):
			items = append(items, "MEMBER OF "+pgclient.QuoteName(m.role))
		case m.admin:
			items = append(items, "ADMIN OPTION FOR "+pgclient.QuoteName(m.role))
		}
	}
	slices.Sort(items)
	return slices.Compact(items)
}

// powerChanges returns the statements that take from have what u must not have, and give it what
// u must have.
func (u User) powerChanges(have User) []userChange {
	user, alter := pgclient.Ident(u.Name), "ALTER ROLE "+pgclient.Ident(u.Name)
	var changes []userChange
	add := func(asked, sql string) {
		changes = append(changes, userChange{sql: sql, shown: sql + ";", asked: asked})
	}
	for _, attribute := range have.attributes {
		add("", alter+" NO"+attribute)
	}
	if u.BypassRLS != have.BypassRLS {
		add("bypass_rls", alter+" "+map[bool]string{true: "BYPASSRLS", false: "NOBYPASSRLS"}[u.BypassRLS])
	}
	for _, m := range have.memberships {
		revoke := "REVOKE "
		switch wanted := slices.Contains(u.Roles, m.role); {
		case wanted && !m.admin:
			continue
		case wanted:
			revoke = "REVOKE ADMIN OPTION FOR "
		}
		revoke += pgclient.Ident(m.role) + " FROM " + user
		if m.grantor != "" {
			revoke += " GRANTED BY " + pgclient.Ident(m.grantor)
		}
		add("", revoke)
	}
	for _, role := range u.Roles {
		if !have.HasRole(role) {
			add("roles", "GRANT "+pgclient.Ident(role)+" TO "+user)
		}
	}
	return changes
}

// powerRefusals returns which of these powers of u a user that exists lacks or exceeds.
func (u User) powerRefusals(found User) (lines []string) {
	if found.BypassRLS != u.BypassRLS {
		lines = append(lines, fmt.Sprintf("bypass_rls is %t, not %t", found.BypassRLS, u.BypassRLS))
	}
	for _, role := range u.Roles {
		if !found.HasRole(role) {
			lines = append(lines, fmt.Sprintf("it is not a member of role %s", pgclient.Ident(role)))
		}
	}
	return lines
}

// replicationRoles are roles of managed servers whose members may replicate, where no login can
// set the attribute REPLICATION: Amazon RDS and Aurora, Yandex Cloud.
var replicationRoles = []string{"mdb_replication", "rds_replication"}

// replicating is how a user has the privilege to replicate.
type replicating struct {
	attribute bool        // REPLICATION
	grants    []roleGrant // of replicationRoles, to the user itself
	existing  []string    // those of replicationRoles that exist on the server
}

// replicationChanges returns the statements that change have.Replication to u.Replication. They
// set the attribute if the login may do that, and grant a role otherwise.
func (u User) replicationChanges(have User) []userChange {
	if u.Replication == have.Replication {
		return nil
	}
	user, alter := pgclient.Ident(u.Name), "ALTER ROLE "+pgclient.Ident(u.Name)
	if u.Replication {
		change := userChange{sql: alter + " REPLICATION", shown: alter + " REPLICATION;", asked: "replication"}
		for _, role := range have.replicating.existing {
			change.instead = append(change.instead, "GRANT "+pgclient.Ident(role)+" TO "+user)
		}
		if len(change.instead) > 0 { // on such a server, no login may set the attribute
			change.shown = change.instead[0] + ";"
		}
		return []userChange{change}
	}
	var changes []userChange
	if have.replicating.attribute {
		changes = append(changes, userChange{sql: alter + " NOREPLICATION", shown: alter + " NOREPLICATION;"})
	}
	for _, grant := range have.replicating.grants {
		revoke := "REVOKE " + pgclient.Ident(grant.role) + " FROM " + user
		if grant.grantor != "" {
			revoke += " GRANTED BY " + pgclient.Ident(grant.grantor)
		}
		changes = append(changes, userChange{sql: revoke, shown: revoke + ";"})
	}
	return changes
}
