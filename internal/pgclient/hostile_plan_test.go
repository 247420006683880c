package pgclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// planTime is how long a plan may take in these tests.
const planTime = time.Second

// unending are ways never to finish an answer.
var unending = map[string]func(c *sandbox.Client){
	"silence": func(*sandbox.Client) {},
	"a notice now and then": func(c *sandbox.Client) {
		every(c, sandbox.Message{Kind: 'N', Body: []byte("SNOTICE\x00Mhello\x00\x00")}.Bytes())
	},
	"a byte now and then": func(c *sandbox.Client) {
		_, _ = c.Write(sandbox.Header('D', 1<<20))
		every(c, []byte{0})
	},
}

// every sends the same bytes again and again until the client hangs up.
func every(c *sandbox.Client, said []byte) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Write(said); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-c.Gone():
			return
		}
	}
}

// neverEnds starts a server in front of s that lets clients log in and begin a session, and then
// never finishes an answer.
func neverEnds(t *testing.T, s *sandbox.Server, instead func(c *sandbox.Client)) *sandbox.Hostile {
	t.Helper()
	return sandbox.StartMiddle(t, s, false, func(c *sandbox.Client) sandbox.Meddler {
		return func(m sandbox.Message) error {
			if m.Ready < 2 {
				_, err := c.Write(m.Bytes())
				return err
			}
			instead(c)
			<-c.Gone()
			return context.Canceled
		}
	})
}

// A server that accepts a login and then never finishes an answer is abandoned in time, whatever
// a plan asks for, even if nothing cancels the plan. It counts as unreachable, and does so once
// for all resources.
func TestPlanWaitsForAWhile(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	todo := slices.DeleteFunc(tasks(pgtest.NewShop(t, s)), func(one task) bool { return !one.plans })
	for way, instead := range unending {
		for _, asked := range todo {
			if way != "silence" && asked.name != todo[0].name {
				continue
			}
			t.Run(way+", "+asked.name, func(t *testing.T) {
				t.Parallel()
				middle := neverEnds(t, s, instead)
				config := pgtest.Superuser(s)
				config.Port = middle.Port
				server := pgtest.Server(t, config).Planning()
				server.SetPlanTimeout(planTime)
				ended := make(chan error, 1)
				go func() { ended <- asked.do(context.Background(), server) }() // only its own timeout ends it
				select {
				case err := <-ended:
					if !pgclient.IsUnreachable(err) {
						t.Errorf("got %v, which does not count as unreachable", err)
					}
				case <-time.After(planTime + sessionSlack):
					t.Fatal("it still waits")
				}
				dialled := middle.Connections()
				for _, again := range todo {
					if err := again.do(context.Background(), server); !pgclient.IsUnreachable(err) {
						t.Errorf("then to %s: got %v", again.name, err)
					}
				}
				if more := middle.Connections() - dialled; more > 0 {
					t.Errorf("%d connections more were made", more)
				}
			})
		}
	}
}

// A statement whose outcome must be known is waited for, even when it is cancelled, but not for
// ever.
func TestExecToTheEnd(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	const grace = time.Second
	cancelled := func(conn *pgx.Conn) error {
		ctx, cancel := context.WithTimeout(t.Context(), grace/4)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- pgclient.ExecToTheEnd(ctx, conn, "SELECT pg_catalog.pg_sleep(60)", grace) }()
		select {
		case err := <-ended:
			return err
		case <-time.After(sessionSlack):
			return errors.New("it still waits")
		}
	}
	t.Run("a server that hears", func(t *testing.T) {
		err := pgtest.Server(t, pgtest.Superuser(s)).OnConn(t.Context(), "", func(conn *pgx.Conn) error {
			if err := cancelled(conn); pgclient.Code(err) != "57014" {
				t.Errorf("got %v", err)
			}
			_, err := conn.Exec(t.Context(), fmt.Sprintf("SELECT pg_catalog.pg_sleep(%f)", 1.5*grace.Seconds())) // as before
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("a server that does not", func(t *testing.T) {
		config := pgtest.Superuser(s)
		config.Port = neverEnds(t, s, func(*sandbox.Client) {}).Port
		err := pgtest.Server(t, config).OnConn(t.Context(), "", cancelled)
		if want := "did not answer within 1s"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	})
}
