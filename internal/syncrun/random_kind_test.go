package syncrun

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A kind is a type, with what a test must know to use it.
type kind struct {
	sql     string                    // as format_type writes it, unless it is not built in
	since   int                       // the first major that has it
	arrives string                    // its type in the destination; the same if empty
	value   func(r *rand.Rand) string // draws one, as text
	ordered bool                      // whether it may be in a primary key
	send    string                    // the function that gives the binary form, where the text form depends on the major version
	more    func(r *rand.Rand) kind   // gives it more room without rewriting a table; may be nil
	counter func(n int) string        // returns the n-th replication key; may be nil
}

// lands returns the type that values of the kind have at a destination.
func (k kind) lands(major int) string {
	switch {
	case k.arrives != "":
		return k.arrives
	case major < k.since && strings.HasSuffix(k.sql, "[]"):
		return "text[]"
	case major < k.since:
		return "text"
	}
	return k.sql
}

// oddTypesSQL creates types that are not built in, in a schema of their own.
const oddTypesSQL = `
	CREATE SCHEMA "Odd ""types"".x";
	SET LOCAL search_path = "Odd ""types"".x";
	CREATE TYPE "Mood?" AS ENUM ('ok', 'it''s', 'two words', '', '"q"', 'ärger', '{a,b}', '\');
	CREATE DOMAIN price AS numeric(9,2) CHECK (VALUE > -100000000);
	CREATE DOMAIN "best price" AS price;
	CREATE DOMAIN moods AS "Mood?"[];
	CREATE TYPE pair AS ("a.b" int, "c""d" text, e numeric[]);
	CREATE TYPE span AS RANGE (subtype = float8);`

func odd(name string) string { return `"Odd ""types"".x".` + name }

var oddKinds = []kind{
	{sql: odd(`"Mood?"`), arrives: "text", ordered: true, value: mood},
	{sql: odd("price"), arrives: "numeric(9,2)", ordered: true, value: decimal(7, 2)},
	{sql: odd(`"best price"`), arrives: "numeric(9,2)", value: decimal(7, 2)},
	{sql: odd("moods"), arrives: "text[]", value: arrayOf(mood, ",")},
	{sql: odd("pair"), arrives: "text", value: pair},
	{sql: odd("span"), arrives: "text", value: oneOf("empty", "[0.1,0.2)", "(,1e300]", "[NaN,]")},
}

// plainKinds are built in. Types with few values have only extreme ones.
var plainKinds = []kind{
	{sql: "smallint", ordered: true, value: integer(16), counter: decimalCounter},
	{sql: "integer", ordered: true, value: integer(32), counter: decimalCounter},
	{sql: "bigint", ordered: true, value: integer(64), counter: decimalCounter},
	{sql: "numeric", ordered: true, value: number, counter: func(n int) string { return fmt.Sprintf("%d.50", n) }},
	{sql: "real", ordered: true, send: "float4send", value: single},
	{sql: "double precision", ordered: true, send: "float8send", value: double},
	{sql: "boolean", ordered: true, value: oneOf("true", "false")},
	{sql: "text", ordered: true, value: textOf(200), counter: func(n int) string { return fmt.Sprintf(`k'\%08d`, n) }},
	{sql: "text", value: textOf(9000)}, // too long for a page
	{sql: "character varying", ordered: true, value: textOf(50)},
	{sql: "bytea", ordered: true, value: hexBytes},
	{sql: "uuid", ordered: true, value: uuidOf, counter: func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }},
	{sql: "date", ordered: true, value: or(moment("2006-01-02"), extremes["date"]...), counter: later("2006-01-02", 24*3600)},
	{sql: "timestamp without time zone", ordered: true, value: or(moment("2006-01-02 15:04:05.000000"), extremes["timestamp"]...), counter: later("2006-01-02 15:04:05", 60)},
	{sql: "timestamp with time zone", ordered: true, value: or(moment("2006-01-02 15:04:05.000000-07"), extremes["timestamp(3) with time zone"]...), counter: later("2006-01-02 15:04:05-07", 60)},
	{sql: "time with time zone", ordered: true, value: or(oneOf("12:34:56.789+03:30", "00:00:00-12"), extremes["time with time zone"]...)},
	{sql: "json", value: jsonText(4)},
	{sql: "jsonb", ordered: true, value: or(jsonText(4), extremes["jsonb"]...)},
	{sql: "bit varying", ordered: true, value: bits(40)},
	{sql: "int8range", ordered: true, value: span(integer(32))},
	{sql: "numrange", ordered: true, value: span(decimal(5, 4))},
	{sql: "daterange", ordered: true, value: span(moment("2006-01-02"))},
	{sql: "tstzrange", ordered: true, value: span(moment("2006-01-02 15:04:05.000000-07"))},
	{sql: "int4multirange", since: 14, ordered: true, value: oneOf("{}", "{[1,3),[5,7)}", "{(,)}")},
	{sql: "datemultirange", since: 14, value: oneOf("{}", "{[2026-01-01,2026-01-03),[2026-02-01,)}")},
	{sql: "jsonpath", since: 12, value: oneOf("$.\"a b\"[*] ? (@ > 1)", "strict $")},
	{sql: "xid8", since: 13, ordered: true, value: oneOf("0", "18446744073709551615")},
	{sql: "pg_snapshot", since: 13, value: oneOf("10:20:10,14,15", "1:1:")},
	{sql: "txid_snapshot", value: oneOf("10:20:10,14,15")},
	{sql: "tsvector", value: oneOf("", "'a b' 'c''d'")},
	{sql: "point", send: "point_send", value: oneOf("(1,-0)", "(0.1,NaN)", "(1e300,-Infinity)")},
	{sql: "box", send: "box_send", value: oneOf("(2,2),(0,0)", "(0.1,2),(0,0)")},
	{sql: "circle", send: "circle_send", value: oneOf("<(0,0),5>", "<(0.1,0),0.3>")},
	{sql: "line", send: "line_send", value: oneOf("{1,2,3}")},
	{sql: "lseg", send: "lseg_send", value: oneOf("[(0,0),(1,1)]")},
	{sql: "path", send: "path_send", value: oneOf("[(0,0),(1,1)]", "((0,0),(1,1))")},
	{sql: "polygon", send: "poly_send", value: oneOf("((0,0),(1,1),(2,0))")},
	{sql: "interval", ordered: true, value: or(interval, extremes["interval"]...)},
	{sql: "interval day to second", value: oneOf("3 days 00:00:00.000001", "-1 days")},
	{sql: "inet", ordered: true, value: oneOf("10.0.0.1/8", "::1", "10.1.2.3", "2001:db8::/32")},
	{sql: "regclass", arrives: "text", value: oneOf("pg_class", "pg_type", "12345678")},
	{sql: "regtype", arrives: "text", value: oneOf("integer", "timestamp without time zone")},
	{sql: "oidvector", value: oneOf("1 2 4294967295")},
	{sql: "tid", value: oneOf("(0,1)", "(4294967295,65535)")},
	{sql: "xid", value: oneOf("0", "4294967295")},
	{sql: "money", value: oneOf(extremes["money"]...)},
	{sql: `"char"`, value: oneOf("", "x", "\\", "'")},
	{sql: "name", ordered: true, value: or(textOf(60), extremes["name"]...)},
	{sql: "xml", value: or(oneOf("plain", "<é/>"), extremes["xml"]...)},
	{sql: "cidr", value: oneOf(extremes["cidr"]...)},
	{sql: "macaddr", ordered: true, value: oneOf(extremes["macaddr"]...)},
	{sql: "macaddr8", value: oneOf(extremes["macaddr8"]...)},
	{sql: "tsquery", value: oneOf(extremes["tsquery"]...)},
	{sql: "pg_lsn", ordered: true, value: oneOf(extremes["pg_lsn"]...)},
	{sql: "oid", ordered: true, value: oneOf(extremes["oid"]...)},
}

// modified are the kinds with a modifier, drawn again each time.
var modified = []func(r *rand.Rand) kind{
	func(r *rand.Rand) kind { return varchar(1 + r.IntN(40)) },
	func(r *rand.Rand) kind { scale := r.IntN(10); return numeric(scale+1+r.IntN(60), scale) },
	func(r *rand.Rand) kind { return clock("timestamp", " without time zone", "2006-01-02 ", r.IntN(6)) },
	func(r *rand.Rand) kind { return clock("timestamp", " with time zone", "2006-01-02 ", r.IntN(6)) },
	func(r *rand.Rand) kind { return clock("time", " without time zone", "", r.IntN(6)) },
	func(r *rand.Rand) kind {
		n := 1 + r.IntN(40)
		return kind{sql: fmt.Sprintf("character(%d)", n), value: textOf(n), ordered: true}
	},
	func(r *rand.Rand) kind {
		return kind{sql: "bit(3)", value: oneOf("101", "000"), ordered: true}
	},
	func(r *rand.Rand) kind {
		n := 1 + r.IntN(40)
		return kind{sql: fmt.Sprintf("bit varying(%d)", n), value: bits(n), more: func(r *rand.Rand) kind {
			return kind{sql: fmt.Sprintf("bit varying(%d)", n+5), value: bits(n + 5)}
		}}
	},
}

func varchar(n int) kind {
	return kind{sql: fmt.Sprintf("character varying(%d)", n), value: textOf(n), ordered: true, more: func(r *rand.Rand) kind {
		switch r.IntN(3) {
		case 0:
			return kind{sql: "text", value: textOf(500)}
		case 1:
			return kind{sql: "character varying", value: textOf(500), more: func(*rand.Rand) kind { return kind{sql: "text", value: textOf(500)} }}
		}
		return varchar(n + 1 + r.IntN(40))
	}}
}

func numeric(precision, scale int) kind {
	return kind{sql: fmt.Sprintf("numeric(%d,%d)", precision, scale), value: decimal(precision-scale, scale), ordered: true, more: func(r *rand.Rand) kind {
		if r.IntN(2) == 0 {
			return kind{sql: "numeric", value: number}
		}
		return numeric(precision+1+r.IntN(9), scale)
	}}
}

// clock returns a kind of time with fewer digits than the maximum.
func clock(name, zone, day string, digits int) kind {
	layout := day + "15:04:05"
	if digits > 0 {
		layout += "." + strings.Repeat("0", digits)
	}
	return kind{sql: fmt.Sprintf("%s(%d)%s", name, digits, zone), value: moment(layout), ordered: true, more: func(r *rand.Rand) kind {
		if r.IntN(2) == 0 || digits >= 5 {
			return kind{sql: name + zone, value: moment(day + "15:04:05.000000")}
		}
		return clock(name, zone, day, digits+1)
	}}
}

// rewritten says which kinds, apart from text, PostgreSQL converts values to without an
// explicit expression.
var rewritten = map[string]string{
	"smallint": "integer", "integer": "bigint", "bigint": "numeric", "real": "double precision", "date": "timestamp without time zone", "inet": "text",
}

// drawKind returns a kind that the major has.
func drawKind(r *rand.Rand, major int) kind {
	for {
		var k kind
		switch n := r.IntN(10); {
		case n < 5:
			k = plainKinds[r.IntN(len(plainKinds))]
		case n < 7:
			k = modified[r.IntN(len(modified))](r)
		case n < 8:
			k = oddKinds[r.IntN(len(oddKinds))]
		default:
			k = arrayKind(drawKind(r, major))
		}
		if k.since <= major {
			return k
		}
	}
}

// arrayKind returns the kind of arrays of a kind that is not an array itself.
func arrayKind(of kind) kind {
	if strings.HasSuffix(of.lands(99), "[]") {
		return of
	}
	k := kind{sql: of.sql + "[]", since: of.since, ordered: of.ordered, value: arrayOf(of.value, ",")}
	switch {
	case strings.HasPrefix(of.sql, "\"Odd") && of.arrives != "text":
		k.since = 11 // arrays of domains
		k.arrives = of.arrives + "[]"
	case of.arrives != "":
		k.arrives = of.arrives + "[]"
	case of.send != "":
		k.send = "array_send"
	}
	if of.sql == "box" {
		k.value = arrayOf(of.value, ";")
	}
	return k
}

// counters returns the kinds that order rows by when they were written.
func counters() []kind {
	var found []kind
	for _, k := range plainKinds {
		if k.counter != nil {
			found = append(found, k)
		}
	}
	return found
}
