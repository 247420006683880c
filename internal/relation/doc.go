// Package relation describes tables and views as the catalogs do: their names,
// columns, keys and types.
//
// It guarantees:
//
//   - A name is read and written in one form, schema.table, in which parts that hold a dot
//     are quoted (name.go).
//   - What belongs together is one reading: ReadTables and QueueTables read within the
//     caller's transaction, and so in its snapshot (table.go).
//   - A type is described down to what it is made of, of whatever schema, as far as another
//     server has to know it to hold the same values (types.go).
package relation
