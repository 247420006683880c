package pgclient

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Address is where the server listens, as a client that connects to it sees it: a host and a
// port, or the directory of a Unix socket and the port in its name.
func (s *Server) Address() (host string, port int) { return s.config.Host, s.config.Port }

// Place identifies the address where the server listens: all entries that reach it in the same
// way have the same place.
func (s *Server) Place() string { return s.config.address() }

// AnswersThrough returns why PostgreSQL does not answer at the server's address when dial
// connects to it, or nil. It does not log in, so the result says nothing about the login.
func (s *Server) AnswersThrough(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.ConnectTimeout)
	defer cancel()
	failed := func(err error) error {
		return fmt.Errorf("check whether server %q answers: %w", s.name, err)
	}
	network, address := pgconn.NetworkAddress(s.config.Host, uint16(s.config.Port)) // validated as a port when the provider is configured
	conn, err := dial(ctx, network, address)
	if err != nil {
		return failed(err)
	}
	defer conn.Close() //nolint:errcheck // nothing was sent that could be lost
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer release()
	// Before any login, a server that offers TLS answers S to this request; another server
	// answers N.
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		return failed(err)
	}
	if _, err := conn.Write(request); err != nil {
		return failed(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		if ctx.Err() != nil {
			return failed(fmt.Errorf("it accepted the connection, but did not answer: %w", ctx.Err()))
		}
		return failed(fmt.Errorf("it closed the connection without an answer: %w", err))
	}
	if answer[0] != 'S' && answer[0] != 'N' {
		return failed(fmt.Errorf("the program that answers is not PostgreSQL: it sent %q", answer))
	}
	return nil
}
