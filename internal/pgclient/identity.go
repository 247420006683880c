package pgclient

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// An Identity distinguishes a server from others, whatever the name of its entry in the provider
// block, and an object on it from others of the same name.
type Identity struct {
	System   string // the system identifier, which copies of a server share; "" where the login may not read it
	Started  string // when the server was started, which no two servers share
	Database string // the oid of the database that was asked for; "" for the server itself
	Object   string // the oid; "" if there is no object of that name
}

// identities are those of a server and of all its roles and databases.
type identities struct {
	system           string
	started          time.Time
	roles, databases map[string]string // oids by name
}

// RoleIdentity returns the identity of a role. All callers share one reading.
func (s *Server) RoleIdentity(ctx context.Context, name string) (Identity, error) {
	all, err := s.identify(ctx)
	return all.of(all.roles[name]), err
}

// DatabaseIdentity returns the identity of a database. All callers share one reading.
func (s *Server) DatabaseIdentity(ctx context.Context, name string) (Identity, error) {
	all, err := s.identify(ctx)
	return all.of(all.databases[name]), err
}

func (all identities) of(oid string) Identity {
	return Identity{System: all.system, Started: startText(all.started), Object: oid}
}

func startText(started time.Time) string { return started.UTC().Format(time.RFC3339Nano) }

func (s *Server) identify(ctx context.Context) (identities, error) {
	all, err := ReadShared(ctx, s, "", func(ctx context.Context) (all identities, err error) {
		err = s.InTx(ctx, "", func(tx pgx.Tx) (err error) {
			all, err = readIdentities(ctx, tx)
			return err
		})
		return all, err
	})
	if err != nil {
		return identities{}, fmt.Errorf("identify server %q: %w", s.name, err)
	}
	return all, nil
}

const startedSQL = `
	SELECT pg_catalog.pg_postmaster_start_time(), pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'), d.oid::pg_catalog.text
	FROM pg_catalog.pg_database AS d
	WHERE d.datname = pg_catalog.current_database()`

const systemSQL = `
	SELECT system_identifier::pg_catalog.text
	FROM pg_catalog.pg_control_system()`

const oidsSQL = `
	SELECT true, rolname, oid::pg_catalog.text
	FROM pg_catalog.pg_roles
	UNION ALL
	SELECT false, datname, oid::pg_catalog.text
	FROM pg_catalog.pg_database`

func readIdentities(ctx context.Context, tx pgx.Tx) (identities, error) {
	all := identities{roles: map[string]string{}, databases: map[string]string{}}
	var err error
	if all.system, all.started, _, err = readServer(ctx, tx); err != nil {
		return identities{}, err
	}
	rows, _ := tx.Query(ctx, oidsSQL)
	var isRole bool
	var name, oid string
	_, err = pgx.ForEachRow(rows, []any{&isRole, &name, &oid}, func() error {
		if isRole {
			all.roles[name] = oid
		} else {
			all.databases[name] = oid
		}
		return nil
	})
	return all, err
}

// readServer reads which server a transaction is on, and the oid of its database.
func readServer(ctx context.Context, tx pgx.Tx) (system string, started time.Time, database string, err error) {
	var readable bool
	err = tx.QueryRow(ctx, startedSQL).Scan(&started, &readable, &database)
	if err == nil && readable {
		err = tx.QueryRow(ctx, systemSQL).Scan(&system)
	}
	return system, started, database, err
}

// ReadIdentity returns the identity of the database that a transaction runs in.
func ReadIdentity(ctx context.Context, tx pgx.Tx) (Identity, error) {
	system, started, database, err := readServer(ctx, tx)
	if err != nil {
		return Identity{}, fmt.Errorf("identify the database: %w", err)
	}
	return Identity{System: system, Started: startText(started), Database: database, Object: database}, nil
}
