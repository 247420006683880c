// Package preflight finds out what a server or a login lacks for what it is to be used as,
// and why that matters.
//
// It guarantees:
//
//   - A check changes nothing and takes no lock but those of reading catalogs. It asks
//     through one connection, in transactions that may only read; only where a proxy pools
//     sessions does it open a second one (check.go).
//   - What is missing is named with the SQL that grants it and with what it is needed for
//     (source.go, destination.go).
//   - What makes runs fail is told apart from what they can do without (advice.go).
package preflight
