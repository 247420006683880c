package pgclient

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// ErrNotFound is returned when the object asked for does not exist.
var ErrNotFound = errors.New("not found")

// A ConnectError says that a server could not be reached or refused the login.
// It holds no secret.
type ConnectError struct {
	Server   string // the entry in the provider block
	Address  string
	Database string
	Username string
	Err      error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("connect to server %q (%s, database %q, username %q): %v",
		e.Server, e.Address, e.Database, e.Username, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// A settingError says that an attribute of an entry cannot be used, wherever the server is.
type settingError struct {
	attribute string
	err       error
}

func (e *settingError) Error() string { return e.err.Error() }
func (e *settingError) Unwrap() error { return e.err }

// advice says what value the attribute must have.
func (e *settingError) advice(server string) string {
	if e.attribute == "password_command" {
		return fmt.Sprintf("Run the command of servers.%s.password_command by hand, as the same user and in the same environment as Terraform: it must print the password and nothing else.", server)
	}
	return fmt.Sprintf("Correct %s of servers.%s: it must be PEM text, or the path of a file on the machine that runs Terraform. A relative path is relative to Terraform's working directory.", e.attribute, server)
}

// A silenceError says that a server accepted a login, and then did not finish an answer.
type silenceError struct{ waited time.Duration }

func (e *silenceError) Error() string {
	return fmt.Sprintf("the login succeeded, but the server did not finish its answers within %v", e.waited)
}

// IsUnreachable reports whether err means that the server could not be asked anything, as
// opposed to an answer from it.
func IsUnreachable(err error) bool {
	var connect *ConnectError
	return errors.As(err, &connect)
}

// Code returns the SQLSTATE of the server's error in err, or "".
func Code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// isServerError reports whether err is, or wraps, an error that the server sent.
func isServerError(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg)
}

// IsRowSecurity reports whether a server refused a statement because policies would have hidden
// rows from it. PostgreSQL has no SQLSTATE for this, so the routine is compared.
func IsRowSecurity(err error) bool {
	return routine(err) == "check_enable_rls"
}

// routine returns which function of the server raised an error, or "". It distinguishes errors
// with the same SQLSTATE, and is never translated.
func routine(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Routine
	}
	return ""
}

// IsExisting reports whether err means that an object of the same name exists already.
func IsExisting(err error) bool {
	switch Code(err) {
	case DuplicateObject, DuplicateDatabase, DuplicateSchema: // a role, database, schema
		return true
	}
	return false
}

// Advise adds to err what Explain tells a person to do about it.
func Advise(err error, advice string) error { return &advisedError{error: err, advice: advice} }

type advisedError struct {
	error
	advice string
}

func (e *advisedError) Unwrap() error { return e.error }

// Explain renders err for a person: with the detail, hint and context that pgconn.PgError leaves
// out of its Error method, and with advice where the server's own words do not say what to do.
func Explain(err error) string {
	lines := []string{err.Error()}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		detail := pg.Detail
		if pg.Code == NotNullViolation || pg.Code == CheckViolation {
			detail = "" // the detail shows a whole row, which must not be disclosed
		}
		for _, part := range []struct{ label, text string }{
			{"Detail", detail}, {"Hint", pg.Hint}, {"Where", pg.Where},
		} {
			if part.text != "" {
				lines = append(lines, part.label+": "+part.text)
			}
		}
	}
	if advice := advise(err); advice != "" {
		lines = append(lines, "", advice)
	}
	return strings.Join(lines, "\n")
}

// advise says what to do about errors whose text does not say it.
func advise(err error) string {
	var advised *advisedError
	if errors.As(err, &advised) {
		return advised.advice
	}
	var connect *ConnectError
	if errors.As(err, &connect) {
		return adviseConnect(connect)
	}
	switch Code(err) {
	case InsufficientPrivilege:
		return "The login of this server entry lacks that right. Use an entry whose username owns the object or is a member of its owner, or ask the owner to grant the right."
	case ReadOnlySQLTransaction:
		return "The server accepts no changes: it is a standby, or default_transaction_read_only is on for this login, the database or the server. Set host and port of the server entry to those of the primary, or turn that setting off."
	case NotNullViolation:
		return "A column of the table does not accept nulls: give it a default, or drop its NOT NULL constraint."
	case LockNotAvailable:
		return "Another session holds a conflicting lock. Apply again when that session has finished."
	case InvalidSQLStatementName, DuplicatePreparedStatement: // of prepared statements, which only this provider names
		return "A statement was prepared in one session and run in another: a proxy that pools sessions by transaction is in front of the server, such as PgBouncer with pool_mode = transaction. " +
			"Set host and port of the server entry to the server itself, or to a pool with pool_mode = session."
	}
	return ""
}

// refusedTLS is pgconn's text for a server that does not offer TLS.
const refusedTLS = "server refused TLS connection"

func adviseConnect(e *ConnectError) string {
	switch Code(e.Err) {
	case InvalidPassword, InvalidAuthorizationSpecification:
		advice := fmt.Sprintf("Check the username and password of servers.%s, and check that pg_hba.conf of the server allows this login from here.", e.Server)
		if Code(e.Err) == InvalidPassword {
			advice += fmt.Sprintf(" If the password of %q was rotated, raise password_wo_version of its stitch_database_user: Terraform does not see that password_wo changed. The server also refuses a password whose valid_until has passed.", e.Username)
		}
		return advice
	case InvalidCatalogName:
		return fmt.Sprintf("The server answers, but has no database %q. Check the name, or create the database first.", e.Database)
	case InsufficientPrivilege:
		return fmt.Sprintf("The login %q is not allowed to connect to database %q: grant it CONNECT.", e.Username, e.Database)
	case TooManyConnections:
		return fmt.Sprintf("No connection is free. Lower max_connections of servers.%s, or raise the limit that the error names: max_connections of the server, or the CONNECTION LIMIT of the role or of the database.", e.Server)
	case "":
		if isServerError(e.Err) {
			return "" // whatever the error is about: text from a server is not advice to follow
		}
		var setting *settingError
		if errors.As(e.Err, &setting) {
			return setting.advice(e.Server)
		}
		text := e.Err.Error()
		switch {
		case strings.Contains(text, refusedTLS):
			return fmt.Sprintf("The server does not offer TLS. If that is acceptable on this network, set sslmode = \"disable\" in servers.%s.", e.Server)
		case strings.Contains(text, "x509:"), strings.Contains(text, "tls:"):
			return fmt.Sprintf("The server's certificate could not be verified. Set sslrootcert in servers.%s to the certificate of the authority that signed it, and host to the name that it was issued for.", e.Server)
		case strings.Contains(text, "authentication type"), strings.Contains(text, "AuthType"), strings.Contains(text, "does not support SCRAM-SHA-256"):
			return fmt.Sprintf("The server asks for a login method that this provider does not support. Make pg_hba.conf of the server ask %q for scram-sha-256.", e.Username)
		}
		var protocol *protocolError
		if errors.As(e.Err, &protocol) {
			return fmt.Sprintf("Check which program listens on the host and port of servers.%s: it does not behave like PostgreSQL.", e.Server)
		}
		var silence *silenceError
		if errors.As(e.Err, &silence) {
			return fmt.Sprintf("Check whether the server is overloaded or stopped, what its sessions of %q wait for (pg_stat_activity), and whether another program listens on the host and port of servers.%s. Then plan again.", e.Username, e.Server)
		}
		var network net.Error
		var forward *sshclient.ForwardError
		if sshclient.IsUnreachable(e.Err) || errors.As(e.Err, &forward) {
			return "" // the error contains its own advice
		}
		if errors.As(e.Err, &network) {
			return fmt.Sprintf("Check the host and port of servers.%s, that the server is running, and that no firewall blocks this machine.", e.Server)
		}
	}
	return ""
}

// connectCause strips the prefix in which pgconn repeats what ConnectError says. Of several
// attempts, it drops those with the same error, and those that only found that an address offers
// no TLS if another attempt at the same address did without TLS. A refused login is the cause,
// whatever errors other attempts met.
func (s *Server) connectCause(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		err = connect.Unwrap()
	}
	all := []error{err}
	var attempts interface{ Unwrap() []error }
	if errors.As(err, &attempts) {
		all = attempts.Unwrap()
	}
	for _, cause := range all {
		if refused := s.config.loginError(s.name, cause); refused != nil {
			return refused
		}
	}
	causes := slices.DeleteFunc(slices.Clone(all), func(cause error) bool {
		return lacksTLS(cause) && slices.ContainsFunc(all, func(other error) bool {
			return !lacksTLS(other) && attempted(other) == attempted(cause)
		})
	})
	causes = slices.CompactFunc(causes, func(a, b error) bool { return a.Error() == b.Error() })
	if len(causes) == 1 {
		return causes[0]
	}
	return errors.Join(causes...)
}

// lacksTLS reports whether an attempt failed only because the server offers no TLS.
func lacksTLS(err error) bool {
	return !isServerError(err) && strings.Contains(err.Error(), refusedTLS)
}

// attempted returns the address with which pgconn begins the error of one attempt: a name such
// as localhost may have several addresses.
func attempted(err error) string {
	address, _, _ := strings.Cut(err.Error(), " (")
	return address
}

// listed is the maximum number of items that an error names.
const listed = 20

// First returns as many items as an error names.
func First(items []string) []string { return items[:min(len(items), listed)] }

// List writes the first items, one a line, and counts the rest.
func List(items []string) string {
	text := ""
	for _, item := range First(items) {
		text += "\n  " + item
	}
	if rest := len(items) - listed; rest > 0 {
		text += fmt.Sprintf("\n  and %d more", rest)
	}
	return text
}
