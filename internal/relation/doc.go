// Package relation describes tables and views as the catalogs do: their names,
// columns, keys and types.
//
// It guarantees:
//
//   - A name is read and written in one form, schema.table, in which parts that hold a dot
//     are quoted (name.go).
//   - One reading is consistent: ReadTables and QueueTables read within the caller's
//     transaction, and so in its snapshot (table.go).
//   - A type, of whatever schema, is described together with the types that it consists of, as
//     far as another server must know them to hold the same values (types.go).
package relation
