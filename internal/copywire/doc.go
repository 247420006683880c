// Package copywire passes rows from one server to another: from COPY TO STDOUT to COPY FROM
// STDIN. It knows nothing of tables.
//
// It guarantees:
//
//   - Rows are never decoded: bytes go from one connection to the other (relay.go).
//   - Memory is bounded whatever the rows are and whatever else servers send (wire.go).
//   - Both ends must count the same number of rows. An error of one side stops the other, and
//     an error of the source is told from one of the destination (relay.go).
//   - A connection that is left open is ready for the next query. Any other is closed
//     (relay.go).
package copywire
