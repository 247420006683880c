// Package provider is Terraform's side of the product, and all of it: schemas, decoding, one call
// of the domain, encoding. It holds no SQL and makes no decision about a server.
//
// It guarantees:
//
//   - Configure opens no connection, and a value that is not known yet never
//     turns into a default (configure.go, clients.go).
//   - Each resource is one file: model, schema, and the four operations in the
//     order Create, Read, Update, Delete. So is each data source, with Read alone.
//   - An error becomes a diagnostic in one place, with the server's detail and
//     hint (diagnose.go).
//   - Terraform's output and its log get no character that a terminal would obey
//     or not show, wherever the text comes from; a diagnostic has a bounded size, and
//     none of its lines can be taken for one of Terraform's (protocol.go, terminal.go).
//   - Import ids are the natural key, each part percent-encoded (importid.go).
//   - Passwords are write-only: they are read from the configuration and reach
//     neither plan nor state.
package provider
