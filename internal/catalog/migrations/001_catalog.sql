CREATE TABLE _stitch.replication (
	id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	schema_name    pg_catalog.text NOT NULL UNIQUE,
	definition     pg_catalog.jsonb NOT NULL,
	schema_created boolean NOT NULL DEFAULT false,
	source_system  pg_catalog.text,
	created_at     pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	updated_at     pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE _stitch.replication IS 'One row for each replication into this database.';
COMMENT ON COLUMN _stitch.replication.schema_created IS 'Whether a run created the schema.';
COMMENT ON COLUMN _stitch.replication.source_system IS 'System identifier of the cluster that the last run read; null while it is not known.';

CREATE TABLE _stitch.run (
	id           pg_catalog.uuid PRIMARY KEY,
	replication  bigint NOT NULL REFERENCES _stitch.replication ON DELETE CASCADE,
	status       pg_catalog.text NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'interrupted')),
	started_at   pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	completed_at pg_catalog.timestamptz
);
CREATE INDEX ON _stitch.run (replication, started_at);
COMMENT ON TABLE _stitch.run IS 'One row for each sync run.';

CREATE TABLE _stitch.leader (
	replication      bigint PRIMARY KEY REFERENCES _stitch.replication ON DELETE CASCADE,
	key              bigint NOT NULL,
	pid              int NOT NULL,
	login            pg_catalog.oid NOT NULL,
	since            pg_catalog.timestamptz NOT NULL,
	lease_expires_at pg_catalog.timestamptz NOT NULL
);
COMMENT ON TABLE _stitch.leader IS 'The session that runs a replication, or ran it last.';
COMMENT ON COLUMN _stitch.leader.key IS 'Random key of an advisory lock: the session runs the replication for as long as its login holds that lock.';
COMMENT ON COLUMN _stitch.leader.lease_expires_at IS 'The workers of the run rely on the leader until this time. They renew it while the session lives.';

CREATE TABLE _stitch.unit (
	id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	run              pg_catalog.uuid NOT NULL REFERENCES _stitch.run ON DELETE CASCADE,
	part_of          bigint REFERENCES _stitch.unit ON DELETE CASCADE,
	source_table     pg_catalog.text NOT NULL,
	relation_kind    pg_catalog.text,
	verify           pg_catalog.text,
	snapshot         pg_catalog.text,
	first_page       bigint,
	end_page         bigint,
	table_attempt    int,
	as_text          boolean,
	attempt          int NOT NULL DEFAULT 0,
	claimed_by       pg_catalog.text,
	key              bigint,
	pid              int,
	login            pg_catalog.oid,
	lease_expires_at pg_catalog.timestamptz,
	done             boolean NOT NULL DEFAULT false,
	rows             bigint NOT NULL DEFAULT 0,
	bytes            bigint NOT NULL DEFAULT 0,
	error            pg_catalog.text NOT NULL DEFAULT '',
	error_code       pg_catalog.text NOT NULL DEFAULT '',
	CHECK (claimed_by IS NULL OR key IS NOT NULL AND pid IS NOT NULL AND login IS NOT NULL AND lease_expires_at IS NOT NULL),
	CHECK (part_of IS NOT NULL OR relation_kind IS NOT NULL AND verify IS NOT NULL AND snapshot IS NULL),
	CHECK (part_of IS NULL OR snapshot IS NOT NULL AND first_page IS NOT NULL AND end_page IS NOT NULL AND table_attempt IS NOT NULL AND as_text IS NOT NULL)
);
CREATE INDEX ON _stitch.unit (run, id) WHERE claimed_by IS NULL;
CREATE INDEX ON _stitch.unit (part_of);
COMMENT ON TABLE _stitch.unit IS 'One row for each unit of work of a run that is under way: a table, or a range of the pages of one.';
COMMENT ON COLUMN _stitch.unit.part_of IS 'The unit of the table whose range this is; null for a table.';
COMMENT ON COLUMN _stitch.unit.relation_kind IS 'Of a table: its relkind at the source, empty if there is no such table.';
COMMENT ON COLUMN _stitch.unit.end_page IS 'Of a range: the first page after it; 0 if it goes to the end of the table.';
COMMENT ON COLUMN _stitch.unit.table_attempt IS 'Of a range: the attempt at its table, which the staging table belongs to.';
COMMENT ON COLUMN _stitch.unit.attempt IS 'Grows with each claim: a worker whose attempt is not the latest one cannot commit.';
COMMENT ON COLUMN _stitch.unit.claimed_by IS 'The claim that holds the unit; null if no worker has it.';
COMMENT ON COLUMN _stitch.unit.key IS 'Random key of an advisory lock that the session of the worker holds, of the process pid and the user login, until it ends.';
COMMENT ON COLUMN _stitch.unit.lease_expires_at IS 'The unit belongs to its worker until this time. Other workers renew it while the session lives, and take the unit over afterwards.';

CREATE TABLE _stitch.report (
	run             pg_catalog.uuid NOT NULL REFERENCES _stitch.run ON DELETE CASCADE,
	source_table    pg_catalog.text NOT NULL,
	table_name      pg_catalog.text NOT NULL,
	status          pg_catalog.text NOT NULL CHECK (status IN ('succeeded', 'failed', 'interrupted')),
	method          pg_catalog.text NOT NULL,
	rows_extracted  bigint NOT NULL,
	rows_loaded     bigint NOT NULL,
	bytes           bigint NOT NULL,
	replication_key pg_catalog.text NOT NULL,
	bookmark        pg_catalog.text NOT NULL,
	duration_ms     bigint NOT NULL,
	snapshot_ms     bigint NOT NULL,
	null_keys       bigint NOT NULL,
	changes         pg_catalog.text[] NOT NULL,
	notes           pg_catalog.text[] NOT NULL,
	verification    pg_catalog.text NOT NULL,
	error           pg_catalog.text NOT NULL,
	PRIMARY KEY (run, source_table)
);
COMMENT ON TABLE _stitch.report IS 'What a sync run did, table by table.';
COMMENT ON COLUMN _stitch.report.snapshot_ms IS 'For how long a snapshot of the source was held, with a lock on the table: the longest of several.';
COMMENT ON COLUMN _stitch.report.null_keys IS 'Of the rows that were extracted, those whose replication key is null.';
COMMENT ON COLUMN _stitch.report.changes IS 'What has changed in the structure of the table since the run before.';
COMMENT ON COLUMN _stitch.report.notes IS 'Other information, such as a guarantee that could not be given.';
COMMENT ON COLUMN _stitch.report.verification IS 'The result of a comparison with the source; empty if there was none.';

CREATE TABLE _stitch.loaded_table (
	replication     bigint NOT NULL REFERENCES _stitch.replication ON DELETE CASCADE,
	table_name      pg_catalog.text NOT NULL,
	source_table    pg_catalog.text NOT NULL,
	status          pg_catalog.text NOT NULL CHECK (status IN ('copying', 'ready')),
	table_version   bigint NOT NULL,
	columns         pg_catalog.text[] NOT NULL,
	attributes      int[] NOT NULL,
	source          pg_catalog.text NOT NULL,
	source_oid      pg_catalog.oid NOT NULL,
	source_columns  int NOT NULL,
	source_parts    pg_catalog.jsonb NOT NULL,
	source_position pg_catalog.jsonb NOT NULL,
	source_meaning  pg_catalog.jsonb NOT NULL,
	oid             pg_catalog.oid NOT NULL,
	relfilenode     pg_catalog.oid NOT NULL,
	row_count       bigint,
	last_sequence   bigint,
	updated_at      pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (replication, table_name)
);
COMMENT ON TABLE _stitch.loaded_table IS 'The tables that runs have loaded, and which table of the source each is loaded from.';
COMMENT ON COLUMN _stitch.loaded_table.status IS 'copying while the rows of a first load are committed in chunks, ready once all were.';
COMMENT ON COLUMN _stitch.loaded_table.columns IS 'Columns that come from the source, now or earlier.';
COMMENT ON COLUMN _stitch.loaded_table.attributes IS 'For each of the columns the attribute number at the source, which a rename does not change; 0 if the column no longer comes from there.';
COMMENT ON COLUMN _stitch.loaded_table.source IS 'The database that the table is loaded from.';
COMMENT ON COLUMN _stitch.loaded_table.source_oid IS 'The table at the source, which may be replaced by another of the same name.';
COMMENT ON COLUMN _stitch.loaded_table.source_columns IS 'Greatest attribute number at the source: columns with a greater one have been added since.';
COMMENT ON COLUMN _stitch.loaded_table.source_parts IS 'The partitions and children of the table at the source, by oid, and how each was attached.';
COMMENT ON COLUMN _stitch.loaded_table.source_position IS 'Where the history of the source was when the table was read: a server that was restored is before it.';
COMMENT ON COLUMN _stitch.loaded_table.source_meaning IS 'What determines the text of stored values, such as the labels of enums.';
COMMENT ON COLUMN _stitch.loaded_table.oid IS 'The table in the destination, which may be replaced by another of the same name.';
COMMENT ON COLUMN _stitch.loaded_table.relfilenode IS 'Where its rows are stored: TRUNCATE, a restore and VACUUM FULL store them elsewhere.';
COMMENT ON COLUMN _stitch.loaded_table.row_count IS 'The number of rows, counted from what runs have inserted and deleted.';
COMMENT ON COLUMN _stitch.loaded_table.last_sequence IS 'Greatest _sdc_sequence of its rows.';

CREATE TABLE _stitch.bookmark (
	replication     bigint NOT NULL,
	table_name      pg_catalog.text NOT NULL,
	method          pg_catalog.text NOT NULL,
	replication_key pg_catalog.text NOT NULL,
	bookmark        pg_catalog.text,
	key_type        pg_catalog.text NOT NULL,
	horizon         pg_catalog.jsonb NOT NULL,
	run             pg_catalog.uuid NOT NULL,
	updated_at      pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (replication, table_name),
	FOREIGN KEY (replication, table_name) REFERENCES _stitch.loaded_table ON DELETE CASCADE
);
COMMENT ON TABLE _stitch.bookmark IS 'How far each loaded table has been replicated.';
COMMENT ON COLUMN _stitch.bookmark.bookmark IS 'Greatest replication key that was loaded, as the source writes it; null if there is none.';
COMMENT ON COLUMN _stitch.bookmark.horizon IS 'What the last run could not see yet: which transactions may still commit rows with a key before the bookmark.';
