package copywire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// A Copied says what went through a relay.
type Copied struct {
	Rows  int64
	Bytes int64
}

// Relay copies rows from the source to the destination: copyOut is a COPY ... TO STDOUT
// there, copyIn a COPY ... FROM STDIN here.
//
// A source sends each row as a message of its own. For each of these, pgconn would make a
// value, a hand-over between goroutines, and a write to the destination. So Relay passes the
// bytes from one connection to the other without pgconn, gathered into messages of
// relayBuffer: memory is bounded whatever the rows are.
//
// After an error of one server, the destination's connection is still usable, and so is the
// source's unless Relay had to stop it. After any other error, and when ctx is cancelled,
// Relay closes both.
func Relay(ctx context.Context, source *pgconn.PgConn, copyOut string, destination *pgconn.PgConn, copyIn string) (Copied, error) {
	for _, conn := range []*pgconn.PgConn{source, destination} {
		if err := conn.SyncConn(ctx); err != nil {
			return Copied{}, err
		}
	}
	release := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = source.Conn().SetDeadline(past) // wakes up pending reads and writes
		_ = destination.Conn().SetDeadline(past)
	})
	r := relaying{source: newWire(source.Conn()), destination: newWire(destination.Conn())}
	c, err := r.run(copyOut, copyIn)
	cancelled := !release()
	if cancelled || r.sourceBroken {
		Interrupt(ctx, source)
	}
	if cancelled || r.destinationBroken {
		Interrupt(ctx, destination)
	}
	if cancelled {
		return Copied{}, ctx.Err()
	}
	return c, err
}

// Interrupt ends a connection in the middle of an exchange, and what its server does for it.
func Interrupt(ctx context.Context, conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	_ = conn.CancelRequest(ctx) // the server notices by itself, but maybe late
	_ = conn.Close(ctx)
}

// A relaying is one relay at work.
type relaying struct {
	source, destination             *wire
	sourceBroken, destinationBroken bool // in the middle of a message, or of a COPY
}

func (r *relaying) run(copyOut, copyIn string) (Copied, error) {
	if err := r.begin(copyOut, copyIn); err != nil {
		return Copied{}, err
	}
	loaded := make(chan outcome, 1)
	go func() { // an error of the destination must stop the source at once
		out := r.destination.outcome()
		if out.err != nil {
			_ = r.source.conn.SetReadDeadline(time.Unix(1, 0))
		}
		loaded <- out
	}()
	bytes, extractErr := r.forward()
	var out outcome
	if extractErr == nil {
		out = r.source.outcome()
		extractErr = out.err
	}
	if extractErr == nil {
		extractErr = r.destination.send('c', nil)
	} else {
		_ = r.destination.send('f', append([]byte("the source failed"), 0))
	}
	in := <-loaded
	_ = r.source.conn.SetReadDeadline(time.Time{})
	r.destinationBroken = r.destination.broken.Load() || in.err != nil && pgclient.Code(in.err) == ""
	r.sourceBroken = r.source.broken.Load() || extractErr != nil && pgclient.Code(extractErr) == ""
	// When the relay gives up, the destination answers with an error of its own, 57014. Any other
	// error, and one that came before, is what stopped the source, unless the source reports an
	// error.
	stopped := pgclient.Code(in.err) != pgclient.QueryCanceled || errors.Is(extractErr, os.ErrDeadlineExceeded)
	if in.err != nil && stopped && pgclient.Code(extractErr) == "" {
		extractErr = nil
	}
	switch {
	case extractErr != nil:
		return Copied{}, &SourceError{fmt.Errorf("extract: %w", explainLoss(extractErr, "source"))}
	case in.err != nil:
		return Copied{}, fmt.Errorf("load: %w", explainLoss(in.err, "destination"))
	case out.rows != in.rows:
		return Copied{}, fmt.Errorf("the source sent %d rows, but the destination counted %d", out.rows, in.rows)
	}
	return Copied{Rows: out.rows, Bytes: bytes}, nil
}

// begin starts COPY on both sides: on the destination first, so that no rows are waiting to
// be read when it refuses.
func (r *relaying) begin(copyOut, copyIn string) error {
	if err := r.destination.query(copyIn, 'G'); err != nil {
		r.destinationBroken = r.destination.broken.Load() || pgclient.Code(err) == ""
		return fmt.Errorf("load: %w", explainLoss(err, "destination"))
	}
	err := r.source.query(copyOut, 'H')
	if err == nil {
		return nil
	}
	r.sourceBroken = r.source.broken.Load() || pgclient.Code(err) == ""
	_ = r.destination.send('f', append([]byte("the source failed"), 0))
	r.destinationBroken = pgclient.Code(r.destination.outcome().err) == "" || r.destination.broken.Load()
	return &SourceError{fmt.Errorf("extract: %w", explainLoss(err, "source"))}
}

// forward passes the source's rows on until the source ends them.
func (r *relaying) forward() (bytes int64, err error) {
	out := newCopyData(r.destination)
	for {
		kind, length, err := r.source.header()
		if err != nil {
			return 0, err
		}
		switch kind {
		case 'd':
			bytes += int64(length)
			if err := out.from(r.source, length); err != nil {
				return 0, err
			}
		case 'c':
			if err := r.source.skip(length); err != nil {
				return 0, err
			}
			return bytes, out.flush()
		default:
			if err := r.source.other(kind, length); err != nil {
				return 0, err
			}
		}
	}
}

// A SourceError is an error of the source.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return e.Err.Error() }

func (e *SourceError) Unwrap() error { return e.Err }

// explainLoss says what an error means that no server sent.
func explainLoss(err error, side string) error {
	if pgclient.Code(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("the connection to the %s broke: %w", side, err)
}
