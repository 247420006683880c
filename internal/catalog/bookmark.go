package catalog

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Bookmark says how far a loaded table has been replicated.
type Bookmark struct {
	Replication    int64
	TableName      string // in the destination
	Method         string
	ReplicationKey string  // "" unless the method is INCREMENTAL
	Bookmark       *string // greatest key loaded, as the source writes it; nil if there is none
	KeyType        string  // of the replication key; "" if there is none
	Horizon        Horizon
	Run            string
}

// A Horizon says what the run that set a bookmark could not see yet. Rows that are committed
// late have keys before the bookmark.
type Horizon struct {
	// Snapshot is the txid_current_snapshot of that run: rows of transactions that it does not
	// see were not loaded. It is empty if rows do not tell their transaction.
	Snapshot string `json:"snapshot,omitempty"`
	// At is the time of that snapshot, in seconds since 1970, by the destination's clock.
	At int64 `json:"at,omitempty"`
	// Clock is the time at the source then, as the source writes it.
	Clock string `json:"clock,omitempty"`
	// Timeline is that of the source's WAL, 0 if it is not known. Transaction numbers start over
	// on another timeline.
	Timeline int `json:"timeline,omitempty"`
	// Files are those in which the rows of each table or partition were stored: TRUNCATE, and all
	// else that rewrites all rows, gives it another.
	Files map[uint32]uint32 `json:"files,omitempty"`
	// PastBookmarks are earlier bookmarks, oldest first, for keys that are not times.
	PastBookmarks []PastBookmark `json:"passed,omitempty"`
	// Open are the transactions that were open when the table was read whole.
	Open []string `json:"open,omitempty"`
	// OpenSnapshot is the latest snapshot in which rows with any key were read.
	OpenSnapshot string `json:"open_snapshot,omitempty"`
}

// A PastBookmark is an earlier bookmark.
type PastBookmark struct {
	At       int64  `json:"at"` // in seconds since 1970, by the destination's clock
	Bookmark string `json:"bookmark"`
}

// QueueBookmarkOf reads, by a batch, the bookmark of a table. into stays nil for a table that
// has none.
func QueueBookmarkOf(batch *pgx.Batch, replication int64, tableName string, into **Bookmark) {
	batch.Queue(`
		SELECT method, replication_key, bookmark, key_type, horizon, run::pg_catalog.text
		FROM _stitch.bookmark
		WHERE replication = $1 AND table_name = $2`, replication, tableName).QueryRow(func(row pgx.Row) error {
		b := Bookmark{Replication: replication, TableName: tableName}
		err := row.Scan(&b.Method, &b.ReplicationKey, &b.Bookmark, &b.KeyType, &b.Horizon, &b.Run)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the bookmark of %q: %w", tableName, err)
		}
		*into = &b
		return nil
	})
}

// QueueBookmark writes, by a batch, a bookmark. Send it in the transaction that loads the
// rows, after the table that it is about.
func QueueBookmark(batch *pgx.Batch, b Bookmark) {
	queue(batch, fmt.Sprintf("set the bookmark of %q", b.TableName), nil, `
		INSERT INTO _stitch.bookmark
			(replication, table_name, method, replication_key, bookmark, key_type, horizon, run)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (replication, table_name) DO UPDATE SET
			method = excluded.method,
			replication_key = excluded.replication_key,
			bookmark = excluded.bookmark,
			key_type = excluded.key_type,
			horizon = excluded.horizon,
			run = excluded.run,
			updated_at = pg_catalog.now()`,
		b.Replication, b.TableName, b.Method, b.ReplicationKey, b.Bookmark, b.KeyType, b.Horizon, b.Run)
}
