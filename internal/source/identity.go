package source

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// An Identity tells one source database from another.
type Identity struct {
	System   string // identifier of the cluster; "" where it may not be read
	Database string // oid
	timeline int    // 0 where it may not be read
	history  string // how the timeline came about, see historyOf; "" where it may not be read
	tellsWAL bool   // whether the login may read where the WAL is
	Standby  bool
	address  string // of the server that was reached, as the server knows it
	Started  string // when the server was started
}

// String is what a bookmark remembers. If the cluster cannot be read, its latest start stands
// for it: after another start, it may be another cluster.
func (id Identity) String() string {
	if id.System == "" {
		return id.Unknown()
	}
	return id.System + "/" + id.Database
}

// StartedPrefix begins the text of a database whose cluster cannot be read.
const StartedPrefix = "started "

// Unknown is what a bookmark remembers of a database whose cluster cannot be read.
func (id Identity) Unknown() string { return StartedPrefix + id.Started + "/" + id.Database }

// StartOf returns when a server was started as a session of a run writes it.
func StartOf(id pgclient.Identity) string {
	started, err := time.Parse(time.RFC3339Nano, id.Started)
	if err != nil { // when is not known
		return ""
	}
	return started.UTC().Format("2006-01-02 15:04:05.999999-07")
}

const identitySQL = `
	SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_control_recovery()', 'EXECUTE'),
		pg_catalog.has_function_privilege('pg_catalog.pg_current_wal_flush_lsn()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_last_wal_replay_lsn()', 'EXECUTE')
			AND pg_catalog.has_function_privilege('pg_catalog.pg_walfile_name(pg_catalog.pg_lsn)', 'EXECUTE'),
		pg_catalog.has_function_privilege('pg_catalog.pg_read_file(pg_catalog.text)', 'EXECUTE'),
		d.oid::pg_catalog.text, pg_catalog.pg_is_in_recovery(),
		pg_catalog.format('%s %s', pg_catalog.inet_server_addr(), pg_catalog.inet_server_port()), pg_catalog.pg_postmaster_start_time()::pg_catalog.text
	FROM pg_catalog.pg_database AS d
	WHERE d.datname = pg_catalog.current_database()`

const controlSQL = `
	SELECT s.system_identifier::pg_catalog.text, greatest(c.timeline_id, r.min_recovery_end_timeline)
	FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_control_checkpoint() AS c, pg_catalog.pg_control_recovery() AS r`

// timelineSQL reads the timeline from the name of the WAL file that is being written: after a
// promotion, the control file has the earlier timeline until the first checkpoint.
const timelineSQL = `
	SELECT ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int`

// identify reads which database a session at the source has reached.
func identify(ctx context.Context, source Session) (id Identity, err error) {
	var controls, files bool
	err = source.Read(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, identitySQL).Scan(&controls, &id.tellsWAL, &files, &id.Database, &id.Standby, &id.address, &id.Started)
		if err == nil && controls {
			err = tx.QueryRow(ctx, controlSQL).Scan(&id.System, &id.timeline)
		}
		return err
	})
	if err == nil && id.tellsWAL {
		err = readTimeline(ctx, source, &id)
	}
	if err == nil && files && id.timeline > 1 {
		id.history, err = readHistory(ctx, source, id.timeline)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("identify the source: %w", err)
	}
	return id, nil
}

// readTimeline reads the timeline of a server that is not a standby. Some servers that
// resemble PostgreSQL have the functions, but refuse to say where their WAL is.
func readTimeline(ctx context.Context, source Session, id *Identity) error {
	err := source.Read(ctx, func(tx pgx.Tx) error {
		var position string
		err := tx.QueryRow(ctx, positionSQL).Scan(&position)
		if err == nil && !id.Standby {
			err = tx.QueryRow(ctx, timelineSQL).Scan(&id.timeline)
		}
		return err
	})
	switch pgclient.Code(err) {
	case pgclient.FeatureNotSupported, pgclient.InsufficientPrivilege, pgclient.ObjectNotInPrerequisiteState:
		id.tellsWAL = false
		return nil
	}
	return err
}

// readHistory reads how a timeline came about. PostgreSQL 10 lets only superusers read files,
// whatever privileges others have.
func readHistory(ctx context.Context, source Session, timeline int) (history string, err error) {
	err = source.Read(ctx, func(tx pgx.Tx) error {
		var file string
		err := tx.QueryRow(ctx, "SELECT pg_catalog.pg_read_file($1)", fmt.Sprintf("pg_wal/%08X.history", timeline)).Scan(&file)
		history = historyOf(file)
		return err
	})
	switch pgclient.Code(err) {
	case pgclient.InsufficientPrivilege, pgclient.UndefinedFile: // or the file is gone
		return "", nil
	}
	return history, err
}
