// Package privilege says who may do what in a database, and changes that: what users are
// granted as a source and as a destination, and what a login needs to make changes.
//
// It guarantees:
//
//   - The facts about who may do what are read in one go. Questions are then answered from
//     them as PostgreSQL would (roles.go, access.go, access_read.go).
//   - Pure functions decide what a change takes (scope.go, plan.go, default_privileges.go,
//     columns.go), and it is run all or nothing. What a login may not do is reported as SQL
//     before anything is changed (change.go).
//   - What this process has granted for another resource is not revoked (claims.go).
//   - Changes take turns in a database, by a lock that they wait for at most ten seconds, and
//     then warn; they are repeated if other sessions interfered (turns.go).
//   - Where a login must be a member of an owner to act for it, the login becomes one and
//     stops being one within a transaction: no other session ever sees the membership, and
//     the login's memberships are the same afterwards (membership.go).
//   - An exported function that changes something is one transaction, which reads the facts
//     and changes only what differs. Only privileges that are of no further use after it are
//     revoked in a second one (source_grants.go, destination_grants.go).
package privilege
