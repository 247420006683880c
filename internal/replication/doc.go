// Package replication stores definitions in the destination, checks them against both sides,
// and gives their readers access to what is loaded. Package syncrun runs them.
//
// It guarantees:
//
//   - A definition, and what it grants, is changed in one transaction. Deleting one succeeds if
//     what it would delete is already gone, even the whole database (store.go).
//   - A schema that holds tables which no replication loaded is not taken over unless the
//     configuration says so. What a replication of the same source has left is taken over
//     (left.go). So is the definition that a process had stored before it died (adopt.go).
//   - A plan foresees what creating or running would refuse, without changing anything
//     (precheck.go). What is wrong with a definition is checked against the source's own tables
//     and views (view_path.go).
//   - Readers that a definition names may read what is loaded, and former readers may not.
//     Neither a load nor a change of readers fails because of the other (readers.go,
//     readers_change.go).
//   - What another replication, or another resource, grants to the same reader stays
//     (readers_claims.go).
//   - Source and destination are known by what they are, not by the entries that lead there
//     (place.go).
package replication
