package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// relayBuffer is how much row data is gathered before it is passed on. A source
// sends every row as a message of its own; passed on one by one, each would
// cost a hand-over between goroutines and a write to the destination.
const relayBuffer = 64 << 10

var errDestinationStopped = errors.New("the destination stopped reading")

// A copied says what went through a relay.
type copied struct {
	rows  int64
	bytes int64
}

// relay copies rows from the source to the destination: copyOut is a COPY ... TO
// STDOUT there, copyIn a COPY ... FROM STDIN here. Memory is bounded by
// relayBuffer and the largest row. If the destination fails, the source's
// connection is closed; if the source fails, the destination's is still usable.
func relay(ctx context.Context, source *pgconn.PgConn, copyOut string, destination *pgconn.PgConn, copyIn string) (copied, error) {
	reader, writer := io.Pipe()
	counter := &countingWriter{writer: writer}
	extracted := make(chan result, 1)
	go func() {
		buffer := bufio.NewWriterSize(counter, relayBuffer)
		tag, err := source.CopyTo(ctx, buffer, copyOut)
		if err == nil {
			err = buffer.Flush()
		}
		// Without an error this is the end of the data, else the reason to give up.
		_ = writer.CloseWithError(err)
		extracted <- result{tag.RowsAffected(), err}
	}()
	tag, loadErr := destination.CopyFrom(ctx, reader, copyIn)
	_ = reader.CloseWithError(errDestinationStopped)
	out := <-extracted

	switch {
	case out.err != nil && !errors.Is(out.err, errDestinationStopped):
		return copied{}, &extractError{fmt.Errorf("extract: %w", explainLoss(out.err, "source"))}
	case loadErr != nil:
		return copied{}, fmt.Errorf("load: %w", explainLoss(loadErr, "destination"))
	case out.rows != tag.RowsAffected():
		return copied{}, fmt.Errorf("the source sent %d rows and the destination counted %d", out.rows, tag.RowsAffected())
	}
	return copied{rows: out.rows, bytes: counter.bytes}, nil
}

// An extractError is one of the source.
type extractError struct{ error }

func (e *extractError) Unwrap() error { return e.error }

// explainLoss says what an error means that no server sent.
func explainLoss(err error, side string) error {
	if postgres.Code(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("the connection to the %s broke: %w", side, err)
}

type result struct {
	rows int64
	err  error
}

type countingWriter struct {
	writer io.Writer
	bytes  int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.writer.Write(p)
	w.bytes += int64(n)
	return n, err
}
