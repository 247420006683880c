package main

import "testing"

func TestCountLog(t *testing.T) {
	const log = `2026-01-01 00:00:00.000 UTC [7] postgres@shop LOG:  connection received: host=127.0.0.1 port=1
2026-01-01 00:00:00.000 UTC [7] postgres@shop LOG:  connection authorized: user=postgres database=shop
2026-01-01 00:00:00.000 UTC [7] postgres@shop LOG:  statement: begin
2026-01-01 00:00:00.000 UTC [7] postgres@shop LOG:  execute stmtcache_1:
	SELECT 'pg_catalog.pg_class'::regclass
2026-01-01 00:00:00.000 UTC [7] postgres@shop DETAIL:  parameters: $1 = NULL
2026-01-01 00:00:00.000 UTC [7] postgres@shop LOG:  execute <unnamed>:
	SELECT relname
	FROM pg_catalog.pg_class AS c
	JOIN pg_catalog.pg_class AS other ON true
2026-01-01 00:00:00.000 UTC [7] postgres@shop LOG:  disconnection: session time: 0:00:00.002
`
	if got, want := countLog(log), (effort{sessions: 1, statements: 3, onTables: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
