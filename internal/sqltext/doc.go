// Package sqltext finds the SQL in Go source and the names that it uses, for tests that every
// name is written with its schema, and that objects which other roles create under these names
// are not used.
//
// It guarantees:
//
//   - Every string that is passed to a method that runs SQL is found, with the
//     constants, concatenations and formats that it consists of. Other strings are
//     distinguished from prose by keywords in capitals (literals.go).
//   - SQL is divided into tokens as PostgreSQL does: comments, strings, dollar
//     quotes and quoted identifiers hide what they contain (tokens.go).
//   - Words that the grammar itself resolves, such as coalesce, extract or the type
//     integer, are not taken for names (words.go).
//   - Text that a program fills in at run time, by a verb of a format or by
//     concatenation, is a token of its own, and is never guessed (tokens.go).
package sqltext
