// Package preflight checks what a server or a login lacks for its intended use, and says why
// that matters.
//
// It guarantees:
//
//   - A check changes nothing and takes no lock but those of reading catalogs. It asks
//     through one connection, in transactions that may only read; it opens a second
//     connection only if a proxy pools sessions (check.go).
//   - A missing privilege is reported with the SQL that grants it and with the reason why it
//     is needed (source.go, destination.go).
//   - Problems that make runs fail are distinguished from those that do not (advice.go).
package preflight
