package pgclient_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/preflight"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

const (
	sessionTimeout = 4 * time.Second // after which a round of an apply is cancelled, as by Ctrl-C
	sessionSlack   = 15 * time.Second
	sessionHeap    = 1 << 30
)

// A task is what a resource or data source asks of a server.
type task struct {
	name  string
	plans bool // it gets a server as plans use it
	do    func(ctx context.Context, s *pgclient.Server) error
}

// tasks are what the provider does for a shop.
func tasks(shop pgtest.Shop) []task {
	table := relation.TableName{Schema: "public", Name: "kinds"}
	source := privilege.SourceGrants{Database: shop.Name, User: shop.User, Schemas: []string{"public", "billing"}, FutureTables: true}
	destination := privilege.DestinationGrants{Database: shop.Name, User: shop.User, SystemCatalogs: true}
	user := postgres.User{Name: shop.User, Login: true, ConnectionLimit: -1}
	return []task{
		{"read a user", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := postgres.ReadUser(ctx, s, shop.User)
			return err
		}},
		{"read a database", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := postgres.ReadDatabase(ctx, s, shop.Name)
			return err
		}},
		{"read a schema", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := postgres.ReadSchema(ctx, s, shop.Name, "billing")
			return err
		}},
		{"read the structure", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := relation.Read(ctx, s, shop.Name, []relation.TableName{table, {Schema: "billing", Name: "payments"}})
			return err
		}},
		{"list tables", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := relation.List(ctx, s, shop.Name, []string{"public", "billing"})
			return err
		}},
		{"check a source", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := preflight.CheckConnection(ctx, s, preflight.ConnectionCheck{Database: shop.Name, Use: preflight.UseAsSource, Schemas: []string{"public"}, Tables: map[relation.TableName]string{table: "id"}})
			return err
		}},
		{"check a destination", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := preflight.CheckConnection(ctx, s, preflight.ConnectionCheck{Database: shop.Name, Use: preflight.UseAsDestination, Schemas: []string{"billing"}})
			return err
		}},
		{"find a pool", true, func(ctx context.Context, s *pgclient.Server) error { return s.RequireSessions(ctx, shop.Name) }},
		{"grant a source", false, func(ctx context.Context, s *pgclient.Server) error { return privilege.GrantSource(ctx, s, source) }},
		{"look for drift of a source", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := privilege.SourceDrift(ctx, s, source)
			return err
		}},
		{"read the grants of a source", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := privilege.ReadSourceGrants(ctx, s, shop.Name, shop.User)
			return err
		}},
		{"revoke a source", false, func(ctx context.Context, s *pgclient.Server) error { return privilege.RevokeSource(ctx, s, source) }},
		{"grant a destination", false, func(ctx context.Context, s *pgclient.Server) error {
			return privilege.GrantDestination(ctx, s, destination)
		}},
		{"look for drift of a destination", true, func(ctx context.Context, s *pgclient.Server) error {
			_, err := privilege.DestinationDrift(ctx, s, destination)
			return err
		}},
		{"change a user", false, func(ctx context.Context, s *pgclient.Server) error {
			_, err := postgres.UpdateUser(ctx, s, user, nil)
			return err
		}},
		{"refuse to drop a user", false, func(ctx context.Context, s *pgclient.Server) error {
			return postgres.DropUser(ctx, s, shop.Application, postgres.DropOptions{})
		}},
		{"refuse to drop a schema", false, func(ctx context.Context, s *pgclient.Server) error {
			return postgres.DropSchema(ctx, s, shop.Name, "billing", false)
		}},
	}
}

// Whatever a server sends instead of its answers after the login, a plan ends by itself, and an
// apply ends at the latest when it is cancelled. Both need only bounded memory.
func TestHostileSession(t *testing.T) {
	s := sandbox.Shared(t, 0)
	shop := pgtest.NewShop(t, s)
	shop.Run(t, `
		CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
		CREATE TABLE public.kinds (id public.positive PRIMARY KEY, list text[], at timestamptz);
		ALTER TABLE public.kinds ADD COLUMN late text DEFAULT 'x';
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+shop.Application)
	seed := sandbox.Seed(t)
	tricks, todo := sandbox.Tricks(), tasks(shop)
	names, rows := make([]string, len(tricks)), make([]hostileRow, len(tricks))
	_, heap := measure(func() {
		t.Run("tricks", func(t *testing.T) { // it returns when all tricks have ended
			for i, trick := range tricks {
				names[i] = trick.Name
				t.Run(trick.Name, func(t *testing.T) {
					t.Parallel()
					rng := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // repeatable is what it has to be
					for range 1 + sandbox.Effort(t) {
						r := sessionRound{trick: trick, task: todo[rng.IntN(len(todo))], from: rng.IntN(1 + rng.IntN(60)), seed: rng.Uint64()}
						rows[i].add(r.play(t, s))
					}
				})
			}
		})
	})
	if heap > 2*sessionHeap { // several run at once
		t.Errorf("it took %d MiB", heap>>20)
	}
	logHostile(t, names, rows)
	t.Logf("the heap grew by %d MiB at most", heap>>20)
	if t.Failed() {
		t.Logf("to repeat it: STITCH_SEED=%d", seed)
	}
}

// A sessionRound is one trick played on one task.
type sessionRound struct {
	trick sandbox.Trick
	task  task
	from  int // the message at which it begins
	seed  uint64
}

func (r sessionRound) play(t *testing.T, s *sandbox.Server) hostileRow {
	middle := sandbox.StartMiddle(t, s, false, func(c *sandbox.Client) sandbox.Meddler {
		return r.trick.Meddler(c, r.from, rand.New(rand.NewPCG(r.seed, uint64(c.Number)))) //nolint:gosec // repeatable
	})
	config := pgtest.Superuser(s)
	config.Port, config.ConnectTimeout = middle.Port, sessionTimeout
	servers := pgclient.NewServers(map[string]pgclient.Config{"server": config})
	server, _ := servers.Server("server")
	round := fmt.Sprintf("%s, from message %d on, to %s", r.trick.Name, r.from, r.task.name)
	ctx, cancel := context.WithTimeout(t.Context(), sessionTimeout)
	if r.task.plans { // it ends by itself
		server = server.Planning()
		server.SetPlanTimeout(sessionTimeout / 4)
		ctx, cancel = context.WithTimeout(t.Context(), sessionTimeout+sessionSlack)
	}
	defer cancel()
	began := time.Now()
	err := r.task.do(ctx, server)
	row := hostileRow{rounds: 1, longest: time.Since(began)}
	if r.task.plans && ctx.Err() != nil {
		t.Errorf("%s: it had to be cancelled", round)
	}
	if err != nil {
		row.said = pgclient.Explain(err)
	}
	if row.longest > sessionTimeout+sessionSlack {
		t.Errorf("%s: it took %v", round, row.longest)
	}
	if len(row.said) > 2*pgclient.MaxControl {
		t.Errorf("%s: %d bytes are said", round, len(row.said))
	}
	pgtest.WaitFor(t, func() bool { // what plans share is cancelled when no caller waits for it any longer
		servers.Close()
		return server.Open() == 0
	})
	return row
}

// An endless stream of rows is refused, also if each row is kept.
func TestRowsWithoutEnd(t *testing.T) {
	s := sandbox.Shared(t, 0)
	shop := pgtest.NewShop(t, s)
	middle := sandbox.StartMiddle(t, s, false, func(c *sandbox.Client) sandbox.Meddler {
		return func(m sandbox.Message) error {
			some := m.Bytes()
			if m.Kind == 'D' && bytes.Contains(m.Body, []byte("orders")) { // the structure
				for {
					if _, err := c.Write(bytes.Repeat(some, 200)); err != nil {
						return err
					}
				}
			}
			_, err := c.Write(some)
			return err
		}
	})
	config := pgtest.Superuser(s)
	config.Port = middle.Port
	server := pgtest.Server(t, config)
	var err error
	took, heap := measure(func() {
		_, err = relation.Read(t.Context(), server, shop.Name, []relation.TableName{{Schema: "public", Name: "orders"}})
	})
	if err == nil || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("got %v", err)
	}
	t.Logf("it took %v and %d MiB", took, heap>>20)
	if heap > sessionHeap {
		t.Errorf("it took %d MiB", heap>>20)
	}
}
