// Package report says in sentences what a sync run did, for people: a warning of Terraform,
// a page, a line of a log.
//
// It guarantees:
//
//   - The text stays readable for hundreds of tables: tables with the same text share one
//     line, and lists end with how many more there are (grouped.go).
//   - A note that the previous run already had is not repeated (run.go).
//
// Texts hold names and messages of servers unchanged. A caller that shows them must escape
// control characters.
package report
