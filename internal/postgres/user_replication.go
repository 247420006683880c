package postgres

// replicationRoles are roles of managed servers whose members may replicate,
// where the attribute REPLICATION cannot be set: Amazon RDS and Aurora, Yandex Cloud.
var replicationRoles = []string{"mdb_replication", "rds_replication"}

// replicating is how a user comes to be allowed to replicate.
type replicating struct {
	attribute bool        // REPLICATION
	grants    []roleGrant // of replicationRoles, to the user itself
	existing  []string    // those of replicationRoles that the server has
}

// replicationChanges returns what makes have.Replication u.Replication. The
// attribute is set where the login may do that, or else a role is granted.
func (u User) replicationChanges(have User) []userChange {
	if u.Replication == have.Replication {
		return nil
	}
	user, alter := Ident(u.Name), "ALTER ROLE "+Ident(u.Name)
	if u.Replication {
		change := userChange{sql: alter + " REPLICATION", shown: alter + " REPLICATION;", asked: "replication"}
		for _, role := range have.replicating.existing {
			change.instead = append(change.instead, "GRANT "+Ident(role)+" TO "+user)
		}
		if len(change.instead) > 0 { // on such a server, nobody may set the attribute
			change.shown = change.instead[0] + ";"
		}
		return []userChange{change}
	}
	var changes []userChange
	if have.replicating.attribute {
		changes = append(changes, userChange{sql: alter + " NOREPLICATION", shown: alter + " NOREPLICATION;"})
	}
	for _, grant := range have.replicating.grants {
		revoke := "REVOKE " + Ident(grant.role) + " FROM " + user
		if grant.grantor != "" {
			revoke += " GRANTED BY " + Ident(grant.grantor)
		}
		changes = append(changes, userChange{sql: revoke, shown: revoke + ";"})
	}
	return changes
}
