package preflight

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// The majors that matter: Stitch's documents require a newer one than this engine does.
const (
	oldestDocumented = "9.3"
	oldestMajor      = 10
)

// TestedMajors returns the majors that every change of this provider is tested against.
func TestedMajors() []int { return []int{10, 13, 15, 16, 18} }

// A Use is what a login is used as.
type Use string

// The uses of a login. Without one, its privileges are not checked.
const (
	UseAsSource      Use = "source"
	UseAsDestination Use = "destination"
)

// A ConnectionCheck says what to check a login for.
type ConnectionCheck struct {
	Database string // "": the entry's
	Use      Use
	// WithoutIndex are tables whose replication key is meant to have no index: no index is
	// advised.
	WithoutIndex []relation.TableName
	Schemas      []string                      // to read all tables of, or to load into
	Tables       map[relation.TableName]string // to read, with their replication keys, "" for none
}

// A Connection is what a check found.
type Connection struct {
	Version     string // as the server writes it
	Major       int
	TLS         bool   // whether the connection is encrypted where it leaves this machine
	TLSVersion  string // the name in Go's crypto/tls, "" without TLS
	TLSCipher   string
	Pooling     pgclient.Pooling
	Facts       Facts
	Privileges  []Privilege
	NotIndexed  map[relation.TableName]string // replication keys without an index to find them
	RowSecurity []relation.TableName          // tables of which the login does not see all rows
	Advice      []Advice
}

// Ready reports whether nothing was found that makes runs fail.
func (c Connection) Ready() bool {
	return !slices.ContainsFunc(c.Advice, func(a Advice) bool { return a.Blocks })
}

// Tested reports whether the provider is tested with servers of this major.
func (c Connection) Tested() bool { return slices.Contains(TestedMajors(), c.Major) }

// A Privilege is one that the login needs.
type Privilege struct {
	Privilege string
	Object    string // for people: "TABLE public.orders"
	Held      bool
	Reason    string

	missing string // what to say about it: that the object does not exist, or which of its parts are meant
	remedy  string // SQL that grants it
	spared  bool   // runs do not need it
}

// CheckConnection logs in and checks. It changes nothing, takes no lock but those of reading
// catalogs, and asks through one connection; it opens a second one only if a proxy pools
// sessions. It runs at most one statement for the facts and four for privileges, in a
// transaction that may only read.
func CheckConnection(ctx context.Context, s *pgclient.Server, check ConnectionCheck) (Connection, error) {
	if check.Database == "" {
		check.Database = s.DefaultDatabase()
	}
	found, err := checkConnection(ctx, s, check)
	if err = s.AddHolders(ctx, check.Database, pgclient.Contention{}, err); err != nil {
		return Connection{}, fmt.Errorf("check database %q of server %q: %w", check.Database, s.Name(), err)
	}
	found.Advice = advice(s, check, found)
	return found, nil
}

func checkConnection(ctx context.Context, s *pgclient.Server, check ConnectionCheck) (found Connection, err error) {
	proxied := false
	err = s.OnConn(ctx, check.Database, func(conn *pgx.Conn) (err error) {
		found, proxied, err = checkConn(ctx, s, conn, check)
		return err
	})
	if err != nil || !proxied {
		return found, err
	}
	// A prepared statement does not survive in a pool, so the pooling is determined first.
	if found.Pooling, err = s.Pooling(ctx, check.Database); err != nil || found.Pooling != pgclient.SessionPooling {
		return found, err
	}
	err = s.OnConn(ctx, check.Database, func(conn *pgx.Conn) error { return checkRights(ctx, conn, check, &found) })
	return found, err
}

// checkConn checks what conn shows by itself and, unless a proxy pools sessions, the privileges.
func checkConn(ctx context.Context, s *pgclient.Server, conn *pgx.Conn, check ConnectionCheck) (found Connection, proxied bool, err error) {
	found = Connection{Version: conn.PgConn().ParameterStatus("server_version"), Major: pgclient.Version(conn)}
	if encrypted, ok := conn.PgConn().Conn().(*tls.Conn); ok {
		state := encrypted.ConnectionState()
		found.TLS, found.TLSVersion, found.TLSCipher = true, tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	}
	if found.Major < oldestMajor {
		return found, false, nil // the version lacks some of what the check would query
	}
	if found.Facts, err = readFacts(ctx, conn); err != nil {
		return found, false, err
	}
	if pgclient.IsProxied(conn, found.Facts.process) {
		return found, true, nil
	}
	found.Pooling = pgclient.NoPooling
	s.RememberPooling(check.Database, pgclient.NoPooling)
	return found, false, checkRights(ctx, conn, check, &found)
}

// Facts are what a server reports about itself and a session, in one statement.
type Facts struct {
	Username                 string
	Superuser                bool
	ClientAddress            string // the client's address that the server saw; "" through a Unix socket
	ServerAddress            string
	ServerPort               int
	SessionTLS               bool // whether the server's session is encrypted; behind a proxy, that is the proxy's session
	Standby                  bool
	HotStandby               string // this and the next ones as SHOW writes them
	MaxStandbyArchiveDelay   string
	MaxStandbyStreamingDelay string
	HotStandbyFeedback       string
	WALLevel                 string
	MaxReplicationSlots      int
	ReplicationSlots         int
	MaxWALSenders            int
	WALSenders               int

	process         int64
	archiveDelay    int64 // in milliseconds; -1: no limit
	streamingDelay  int64
	defaultReadOnly bool
	readable        bool // whether there is a table that the login can read
}

const factsSQL = `
	SELECT
		r.rolname, r.rolsuper,
		coalesce(pg_catalog.host(pg_catalog.inet_client_addr()), ''),
		coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), ''),
		coalesce(pg_catalog.inet_server_port(), 0),
		coalesce((SELECT s.ssl FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid()), false),
		pg_catalog.pg_is_in_recovery(),
		pg_catalog.current_setting('hot_standby'),
		pg_catalog.current_setting('max_standby_archive_delay'),
		pg_catalog.current_setting('max_standby_streaming_delay'),
		pg_catalog.current_setting('hot_standby_feedback'),
		pg_catalog.current_setting('wal_level'),
		pg_catalog.current_setting('max_replication_slots')::bigint,
		(SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots),
		pg_catalog.current_setting('max_wal_senders')::bigint,
		(SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication),
		pg_catalog.pg_backend_pid()::bigint,
		(SELECT s.setting::bigint FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_standby_archive_delay'),
		(SELECT s.setting::bigint FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_standby_streaming_delay'),
		pg_catalog.current_setting('default_transaction_read_only')::boolean,
		EXISTS (
			SELECT 1
			FROM pg_catalog.pg_class AS c
			JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
			  AND n.nspname <> 'information_schema'
			  AND n.nspname !~ '^pg_'
			  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
			  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
		)
	FROM pg_catalog.pg_roles AS r
	WHERE r.rolname = current_user`

// readFacts prepares nothing: the next statement may run in another session.
func readFacts(ctx context.Context, conn *pgx.Conn) (Facts, error) {
	var f Facts
	err := pgclient.ReadTx(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, factsSQL, pgx.QueryExecModeExec).Scan(
			&f.Username, &f.Superuser, &f.ClientAddress, &f.ServerAddress, &f.ServerPort, &f.SessionTLS,
			&f.Standby, &f.HotStandby, &f.MaxStandbyArchiveDelay, &f.MaxStandbyStreamingDelay, &f.HotStandbyFeedback,
			&f.WALLevel, &f.MaxReplicationSlots, &f.ReplicationSlots, &f.MaxWALSenders, &f.WALSenders,
			&f.process, &f.archiveDelay, &f.streamingDelay, &f.defaultReadOnly, &f.readable)
	})
	if err != nil {
		return Facts{}, fmt.Errorf("read the settings of the server: %w", err)
	}
	return f, nil
}

// checkRights checks the privileges that a use of the login takes.
func checkRights(ctx context.Context, conn *pgx.Conn, check ConnectionCheck, found *Connection) error {
	var look func(context.Context, pgx.Tx, ConnectionCheck, *Connection) error
	switch check.Use {
	case UseAsSource:
		look = checkSource
	case UseAsDestination:
		look = checkDestination
	default:
		return nil
	}
	err := pgclient.ReadTx(ctx, conn, func(tx pgx.Tx) error {
		return look(ctx, tx, check, found)
	})
	if err != nil {
		return fmt.Errorf("read the rights of %q: %w", found.Facts.Username, err)
	}
	return nil
}

// tableNames returns the names of the tables, sorted.
func (c ConnectionCheck) tableNames() []relation.TableName { return sortedTables(maps.Keys(c.Tables)) }
