// Package privilege says who may do what in a database, and changes that: what users are
// granted as a source and as a destination, and what a login has to be to change things.
//
// It guarantees:
//
//   - Who may do what is read at once, and answered from that as PostgreSQL would
//     (roles.go, access.go, access_read.go).
//   - What a change takes is decided purely (scope.go, plan.go, default_privileges.go,
//     columns.go) and run all or nothing. What a login may not do is said in SQL before
//     anything is changed (change.go).
//   - What this process has granted for another resource is not revoked (claims.go).
//   - Changes take turns in a database as a courtesy, for which they wait ten seconds and
//     then warn; they are made again if other sessions interfered (turns.go).
//   - Where a login has to be a member of an owner to act for it, it becomes one
//     and stops being one within a transaction: nobody ever sees it, and
//     its memberships are what they were (membership.go).
//   - An exported function that changes something is one transaction, which reads what is
//     there and changes only what differs; only what has lost its use by that is revoked in
//     a second one (source_grants.go, destination_grants.go).
package privilege
