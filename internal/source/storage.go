package source

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A Storage says where the rows of a table and of its partitions are stored.
type Storage struct {
	IsHeap   bool              // whether each row has a place (ctid) and tells its transaction (xmin)
	Readable bool              // whether the login may read ctid and xmin
	Leaves   []uint32          // the tables that hold the rows
	Names    []string          // of the leaves
	Attached map[uint32]string // for each leaf, how it was attached
	Files    map[uint32]uint32 // in which the rows of each leaf are stored
	pages    int64             // of the largest leaf
	bytes    int64             // of all leaves, with their TOAST tables
}

// storageSQL follows partitions and children. Each of them has a row in pg_inherits, whose
// xmin is the transaction that attached it. That row, with those of the tables above it,
// shows whether it has been attached all the time.
const storageSQL = `
	WITH RECURSIVE path AS (
		SELECT c.oid, c.relkind, c.relam, c.relfilenode, ''::pg_catalog.text AS attached
		FROM pg_catalog.pg_class AS c
		WHERE c.oid = pg_catalog.to_regclass($1)
		UNION
		SELECT c.oid, c.relkind, c.relam, c.relfilenode, pg_catalog.format('%s %s', path.attached, i.xmin)
		FROM path
		JOIN pg_catalog.pg_inherits AS i ON i.inhparent = path.oid
		JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
	), part AS (
		SELECT p.oid, p.relkind, p.relam, p.relfilenode, pg_catalog.string_agg(p.attached, ',' ORDER BY p.attached) AS attached
		FROM path AS p
		GROUP BY p.oid, p.relkind, p.relam, p.relfilenode
	)
	SELECT pg_catalog.txid_current_snapshot()::pg_catalog.text, pg_catalog.clock_timestamp()::pg_catalog.text,
		coalesce(pg_catalog.bool_and(part.relkind IN ('r', 'm') AND (part.relam = 0 OR a.amname = 'heap')), true),
		coalesce(pg_catalog.array_agg(part.oid ORDER BY part.oid), '{}'::pg_catalog.oid[]),
		coalesce(pg_catalog.array_agg(pg_catalog.convert_to(part.oid::pg_catalog.regclass::pg_catalog.text, ` + relation.NameEncodingSQL + `) ORDER BY part.oid), '{}'::pg_catalog.bytea[]),
		coalesce(pg_catalog.array_agg(part.relfilenode ORDER BY part.oid), '{}'::pg_catalog.oid[]),
		coalesce(pg_catalog.array_agg(part.attached ORDER BY part.oid), '{}'::pg_catalog.text[]),
		coalesce(pg_catalog.max(pg_catalog.pg_relation_size(part.oid)) / pg_catalog.current_setting('block_size')::bigint, 0),
		coalesce(pg_catalog.sum(pg_catalog.pg_table_size(part.oid))::bigint, 0),
		coalesce((
			SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'))
			FROM pg_catalog.pg_attribute AS a
			WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attname IN ('xmin', 'ctid', 'tableoid') AND a.attnum < 0
		), true)
	FROM part
	LEFT JOIN pg_catalog.pg_am AS a ON a.oid = part.relam
	WHERE part.relkind <> 'p'`

// queueStorage reads, by a batch, where the rows of a table are, and what can be seen of
// them.
func queueStorage(batch *pgx.Batch, name relation.TableName, s *Storage, info *SnapshotInfo) {
	batch.Queue(storageSQL, name.SQL()).QueryRow(func(row pgx.Row) error {
		var files []uint32
		var attached []string
		var names [][]byte
		if err := row.Scan(&info.Snapshot, &info.clock, &s.IsHeap, &s.Leaves, &names, &files, &attached, &s.pages, &s.bytes, &s.Readable); err != nil {
			return fmt.Errorf("read where the rows of %s are stored: %w", name, err)
		}
		if err := pgclient.SameLength(len(s.Leaves), len(names), len(files), len(attached)); err != nil {
			return err
		}
		for _, name := range names {
			s.Names = append(s.Names, strings.ToValidUTF8(string(name), "?"))
		}
		s.Files, s.Attached = map[uint32]uint32{}, map[uint32]string{}
		for i, leaf := range s.Leaves {
			s.Files[leaf], s.Attached[leaf] = files[i], attached[i]
		}
		return nil
	})
}

const (
	RangeBytes = 128 << 20 // the approximate size of a range
	maxRanges  = 64
	// Older major versions read the whole table for each range of ctids.
	RangesSince = 14
)

// A PageRange is the rows of a table on the pages from first up to, but not including, end.
// An end of 0 is the end of the table.
type PageRange struct{ First, End int64 }

// Ranges divides a table into ranges of about the same size.
func (s Storage) Ranges(bytes int64) []PageRange {
	n := min(s.bytes/bytes, maxRanges, s.pages)
	if n < 2 {
		return []PageRange{{}}
	}
	all := make([]PageRange, n)
	for i := range n {
		all[i] = PageRange{s.pages * i / n, s.pages * (i + 1) / n}
	}
	all[n-1].End = 0
	return all
}

// Condition is the condition for rows of the range. In a partitioned table it applies to the
// pages of each partition.
func (r PageRange) Condition() string {
	condition := fmt.Sprintf("ctid >= '(%d,0)'::pg_catalog.tid", r.First)
	if r.End > 0 {
		condition += fmt.Sprintf(" AND ctid < '(%d,0)'::pg_catalog.tid", r.End)
	}
	return condition
}
