package destination

import (
	"fmt"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// widens accepts only changes of type that rewrite no table and change no value, on any major.
func TestWidensInPlace(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"character varying(3)": "ab ", "character varying(9)": "ab ", "character varying": "ab ", "text": "ab ",
		"bit varying(3)": "01", "bit varying(9)": "01", "bit varying": "01",
		"numeric(5,2)": "1.20", "numeric(9,2)": "1.20", "numeric(9,3)": "1.200", "numeric(5,0)": "1", "numeric(9,0)": "1", "numeric": "1.20",
		"time(1) without time zone": "12:00:00.1", "time(3) without time zone": "12:00:00.1", "time without time zone": "12:00:00.1",
		"time(1) with time zone": "12:00:00.1+01", "time with time zone": "12:00:00.1+01",
		"timestamp(0) without time zone": "2026-01-01", "timestamp(6) without time zone": "2026-01-01", "timestamp without time zone": "infinity",
		"timestamp(0) with time zone": "2026-01-01", "timestamp(5) with time zone": "2026-01-01", "timestamp with time zone": "infinity",
		"interval(0)": "1 mon 00:00:01", "interval(6)": "1 mon 00:00:01", "interval": "1 mon 00:00:01",
		"interval second": "00:00:01", "interval day to second(2)": "1 day 00:00:01", "character(3)": "a", "character(9)": "a",
	}
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		database := s.Database(t)
		var checks string
		for from, value := range values {
			for to := range values {
				if Widens(from, to) {
					checks += fmt.Sprintf("PERFORM pg_temp.widen('%s', '%s', '%s');", from, to, value)
				}
			}
		}
		if checks == "" {
			t.Fatal("nothing widens")
		}
		s.Exec(t, database, `
			CREATE FUNCTION pg_temp.widen(was text, becomes text, value text) RETURNS void LANGUAGE plpgsql AS $$
			DECLARE
				file oid;
				before text;
				after text;
			BEGIN
				EXECUTE format('CREATE TEMP TABLE t AS SELECT CAST(%L AS %s) AS v', value, was);
				SELECT pg_relation_filenode('t') INTO file;
				EXECUTE 'SELECT v::text FROM t' INTO before;
				EXECUTE format('ALTER TABLE t ALTER v TYPE %s', becomes);
				EXECUTE 'SELECT v::text FROM t' INTO after;
				IF file <> pg_relation_filenode('t') THEN
					RAISE '% to % rewrites the table', was, becomes;
				ELSIF before <> after THEN
					RAISE '% to % makes % of %', was, becomes, after, before;
				END IF;
				DROP TABLE t;
			END $$;
			DO $$ BEGIN `+checks+` END $$`)
	})
}
