package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// changes are what happens at the source between the two runs. Each statement affects, or returns,
// exactly the rows that have changed.
var changes = []struct{ table, what, sql string }{
	{"public.pgbench_history", "transactions were made by pgbench", `SELECT FROM public.pgbench_history`},
	{"public.pgbench_accounts", "accounts have a new balance", `SELECT DISTINCT aid FROM public.pgbench_history`},
	{"shop.orders", "orders were shipped", `
		UPDATE shop.orders SET status = 'shipped'
		WHERE id IN (SELECT id FROM shop.orders WHERE status = 'paid' ORDER BY id LIMIT 500)`},
	{"shop.orders", "orders came in", `
		INSERT INTO shop.orders (id, customer_id, status, items, discounts, total, card_number)
		SELECT n, 1 + n % 1990, 'new', '[{"article": 1, "count": 2}]', '{0.15, NULL}', 19.90, pg_catalog.lpad(n::pg_catalog.text, 16, '4')
		FROM pg_catalog.generate_series(100001, 100200) AS n`},
	{"shop.order_events", "events were recorded", `
		INSERT INTO shop.order_events (happened_at, order_id, what)
		SELECT updated_at, id, status::pg_catalog.text FROM shop.orders WHERE id > 100000 OR updated_at > pg_catalog.now() - interval '10 minutes'`},
	{"shop.customers", "customers changed", `
		UPDATE shop.customers SET credit = credit + 0.01, profile = profile || '{"score": 100}' WHERE id <= 30`},
	{"shop.customers", "customers were deleted", `DELETE FROM shop.customers WHERE id > 1990`},
}

func (q *quickstart) change(ctx context.Context) error {
	if err := q.pgbench(ctx, "-n", "-c", "2", "-t", "500"); err != nil {
		return err
	}
	q.changed = map[string]int64{}
	for _, c := range changes {
		n, err := execute(ctx, q.source, sourceDatabase, c.sql)
		if err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		fmt.Printf("  %6s %s (%s)\n", thousands(n), c.what, c.table)
		q.changed[c.table] += n
	}
	return nil
}

//go:embed rights.sql
var rightsSQL string

// rights lists roles, databases, owners and privileges on both servers.
func (q *quickstart) rights(ctx context.Context) ([]string, error) {
	var all []string
	for name, s := range map[string]*sandbox.Server{"source": q.source, "destination": q.destination} {
		databases, err := texts(ctx, s, "postgres", "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn")
		if err != nil {
			return nil, err
		}
		for _, database := range databases {
			lines, err := texts(ctx, s, database, rightsSQL)
			if err != nil {
				return nil, fmt.Errorf("list the rights in %s of the %s: %w", database, name, err)
			}
			for _, line := range lines {
				all = append(all, name+", "+database+": "+line)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// verify compares the servers with their state before Terraform.
func (q *quickstart) verify(ctx context.Context) error {
	after, err := q.rights(ctx)
	if err != nil {
		return err
	}
	var differences []string
	for _, line := range without(q.before, after) {
		differences = append(differences, "gone: "+line)
	}
	for _, line := range without(after, q.before) {
		differences = append(differences, "left: "+line)
	}
	if len(differences) > 0 {
		return errors.New("they differ:\n" + strings.Join(differences, "\n"))
	}
	fmt.Printf("  %s lines list roles, databases, owners and rights: they are the same as before\n", thousands(int64(len(after))))
	return nil
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	in := map[string]bool{}
	for _, line := range b {
		in[line] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return in[line] })
}
