package definition

// ReservedPrefix begins the names of the engine's own columns and tables.
const ReservedPrefix = "_sdc"

// SystemColumns are the engine's own columns, which the destination fills.
var SystemColumns = []struct{ Name, SQL, Comment string }{
	{"_sdc_received_at", "timestamp with time zone", "When the row was received."},
	{"_sdc_batched_at", "timestamp with time zone", "When the batch that held the row was loaded."},
	{"_sdc_sequence", "bigint", "Order of loading: of two versions of a row, the greater is the newer."},
	{"_sdc_table_version", "bigint", "Version of the table: it grows with each table reset."},
}
