package pgclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// Defaults of a Config's fields.
const (
	DefaultPort           = 5432
	DefaultDatabase       = "postgres"
	DefaultMaxConnections = 8
	DefaultConnectTimeout = 10 * time.Second
)

// ApplicationName is the name that servers show for our sessions.
const ApplicationName = "terraform-provider-stitch"

// SSLModes are the values of Config.SSLMode, with libpq's meanings.
var SSLModes = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}

// A Config says how to reach a server and how to log in. A zero value stands for the default
// above; Host and Username have none.
type Config struct {
	Host            string // a name, an address, or the directory of a Unix socket
	Port            int
	Database        string // where to connect when the caller names no database
	Username        string
	Password        string
	PasswordCommand []string // prints the password; run for each connection
	SSLMode         string   // default verify-full, but prefer on loopback
	SSLRootCert     string   // this and the next two: PEM text, or the path of a file that holds it
	SSLCert         string
	SSLKey          string
	AllowMD5        bool            // accept an MD5 login from a server that has not proved who it is
	SSHHost         *sshclient.Host // the host through which the server is reached, or nil; Host is then resolved there
	MaxConnections  int
	ConnectTimeout  time.Duration

	onlySCRAM bool // the server must ask for the password, and by SCRAM-SHA-256
}

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Database == "" {
		c.Database = DefaultDatabase
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	if c.SSLMode == "" {
		c.SSLMode = "verify-full"
		if isLoopback(c.Host) {
			c.SSLMode = "prefer"
		}
	}
	return c
}

// isSocket reports whether a host is the directory of a Unix socket.
func isSocket(host string) bool { return strings.HasPrefix(host, "/") }

func isLoopback(host string) bool {
	if host == "localhost" || isSocket(host) {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// address is where the server listens, for people.
func (c Config) address() string {
	address := c.Host
	if !isSocket(c.Host) {
		address = net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	}
	if c.SSHHost != nil {
		address += fmt.Sprintf(" through SSH host %q", c.SSHHost.Name())
	}
	return address
}

// connConfig translates c for pgx. The parser receives every setting that it would otherwise
// look for in the environment. The parser's results are then overwritten with ours.
func (c Config) connConfig(database string) (*pgx.ConnConfig, error) {
	if c.Host == "" {
		return nil, errors.New("host is empty")
	}
	config, err := pgx.ParseConfig("host=unset.invalid port=1 user=unset dbname=unset password=unset " +
		"sslmode=disable sslrootcert='' sslcert='' sslkey='' sslpassword='' sslcertmode=allow sslsni=1 sslnegotiation=postgres " +
		"passfile='' require_auth='' channel_binding=prefer min_protocol_version=3.0 max_protocol_version=3.0 " +
		"connect_timeout=0 target_session_attrs=any")
	if err != nil {
		return nil, err
	}
	// Statements have no names: a proxy or another role could replace a named one with its own.
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	config.Host = c.Host
	config.Port = uint16(c.Port) // validated as a port when the provider is configured
	config.Database = database
	config.User = c.Username
	config.Password = c.Password
	config.ConnectTimeout = c.ConnectTimeout
	config.DialFunc = (&net.Dialer{Timeout: c.ConnectTimeout, KeepAlive: 30 * time.Second}).DialContext
	if c.SSHHost != nil {
		// Each PostgreSQL connection, and each request to cancel its statement, has an SSH
		// connection of its own: rows of one connection never wait for those of another.
		config.DialFunc = c.SSHHost.Tunnel().DialContext
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // the SSH host resolves it
	}
	config.RuntimeParams = map[string]string{
		"application_name": ApplicationName,
		"client_encoding":  "UTF8",
	}
	c.limit(config)
	config.TLSConfig, config.Fallbacks, err = c.tls()
	return config, err
}

// limit bounds what is answered to a server, and what the server may send.
func (c Config) limit(config *pgx.ConnConfig) {
	accepted := c.acceptedAuth()
	config.RequireAuth = strings.Join(accepted, ",")
	config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {} // notifications are not used; pgx would keep them
	b, dial := &backlog{}, config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return b.limit(conn), nil
	}
	var reader *limitedReader // of the latest attempt
	config.BuildFrontend = func(from io.Reader, to io.Writer) *pgproto3.Frontend {
		e := &exchange{}
		reader = &limitedReader{from: from, backlog: b, exchange: e, strict: !slices.Contains(accepted, authMD5), parameters: map[string]bool{}}
		return pgproto3.NewFrontend(reader, &askingWriter{to: to, exchange: e})
	}
	config.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[readerKey] = reader
		return nil
	}
}

// tls returns the TLS settings of the first attempt and, for "prefer", the second attempt,
// without TLS.
func (c Config) tls() (*tls.Config, []*pgconn.FallbackConfig, error) {
	if c.SSLMode == "disable" || isSocket(c.Host) {
		return nil, nil, nil
	}
	config := &tls.Config{ServerName: c.Host, MinVersion: tls.VersionTLS12}
	if err := c.addCertificates(config); err != nil {
		return nil, nil, err
	}
	switch c.SSLMode {
	case "verify-full":
		return config, nil, nil
	case "verify-ca":
		if config.RootCAs == nil { // a system authority vouches for any server, also for one that is not ours
			return nil, nil, errors.New(`sslmode "verify-ca" needs sslrootcert: set it, or use "verify-full"`)
		}
		return withoutHostname(config), nil, nil
	case "prefer", "require":
		// Like libpq: if an authority is configured, require verifies against it.
		if config.RootCAs != nil && c.SSLMode == "require" {
			return withoutHostname(config), nil, nil
		}
		config.InsecureSkipVerify = true // these two modes mean this; the default is verify-full
		if c.SSLMode == "require" {
			return config, nil, nil
		}
		return config, []*pgconn.FallbackConfig{{Host: c.Host, Port: uint16(c.Port)}}, nil // a valid port
	}
	return nil, nil, fmt.Errorf("sslmode %q is not one of %s", c.SSLMode, strings.Join(SSLModes, ", "))
}

func (c Config) addCertificates(config *tls.Config) error {
	if c.SSLRootCert != "" {
		text, err := pemOrFile(c.SSLRootCert)
		if err != nil {
			return &settingError{"sslrootcert", fmt.Errorf("read sslrootcert: %w", err)}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return &settingError{"sslrootcert", errors.New("read sslrootcert: it contains no certificate")}
		}
	}
	if c.SSLCert == "" && c.SSLKey == "" {
		return nil
	}
	cert, err := pemOrFile(c.SSLCert)
	if err != nil {
		return &settingError{"sslcert", fmt.Errorf("read sslcert, which is neither PEM text nor the path of a file: %w", withoutPath(err))}
	}
	key, err := pemOrFile(c.SSLKey)
	if err != nil {
		return &settingError{"sslkey", fmt.Errorf("read sslkey, which is neither PEM text nor the path of a file: %w", withoutPath(err))}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return &settingError{"sslcert or sslkey", fmt.Errorf("read sslcert and sslkey: %w", err)}
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

func pemOrFile(value string) ([]byte, error) {
	if strings.Contains(value, "-----BEGIN ") {
		return []byte(value), nil
	}
	return sshclient.ReadFile(value)
}

// withoutPath removes from an error a value that was taken for a relative path: it may be a key
// that lacks its PEM header, or a key in the place of the certificate.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) && !filepath.IsAbs(path.Path) {
		return path.Err
	}
	return err
}

// withoutHostname makes config verify the server's chain, but not its name.
func withoutHostname(config *tls.Config) *tls.Config {
	config.InsecureSkipVerify = true // replaced by VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		options := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
	return config
}
