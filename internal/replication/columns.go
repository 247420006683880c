package replication

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A column is how one source column is extracted and loaded.
type column struct {
	source  postgres.Column
	name    string // in the destination
	sql     string // its type there
	extract string // the expression that the source evaluates
	text    bool   // whether its values have no binary form that means the same there
}

// columnOf decides the destination type of a source column, and what the source
// has to send so that what it sends is of that type.
func columnOf(source postgres.Column, destination postgres.TypeSet) column {
	a := arrivalOf(source.SQL, source.Type, destination)
	c := column{source: source, name: source.Name, sql: a.sql, extract: postgres.Ident(source.Name), text: a.text}
	if !a.same {
		c.extract = fmt.Sprintf("(%s)::%s", c.extract, a.sql)
	}
	return c
}

// asKey is the column as a replication key, in a type that PostgreSQL's own
// operators are for: others may have made some for a domain, or for varchar.
func (c column) asKey() column {
	if strings.HasPrefix(c.sql, "character varying") {
		c.sql = "text"
	}
	if c.sql != c.source.SQL {
		c.extract = fmt.Sprintf("(%s)::%s", postgres.Ident(c.source.Name), c.sql)
	}
	return c
}

// An arrival is what becomes of the values of a type.
type arrival struct {
	sql  string // their type in the destination
	same bool   // whether the source's own type can be sent as it is
	text bool   // whether only its text form means the same there
}

var asText = arrival{sql: "text"}

// arrivalOf returns what becomes of values of type t, which is written sql at
// the source, with its modifier.
//
// An enum arrives as its label, a domain as its base type, a composite as its
// text form, and so does what the destination does not have. What it has arrives
// as it is, in its text form where the binary one could mean something else.
func arrivalOf(sql string, t postgres.Type, destination postgres.TypeSet) arrival {
	switch {
	case t.Base != nil:
		return arrivalOf(t.BaseSQL, *t.Base, destination) // a domain is sent as its base type is
	case t.Element != nil:
		return arrayArrival(sql, t, destination)
	case t.Kind == "e" || t.Kind == "c" || isReference(t):
		return asText
	}
	there, binary, ok := destination.Find(t)
	switch {
	case !ok, t.BuiltIn() && !binary: // such as aclitem, which names roles
		return asText
	case t.BuiltIn():
		return arrival{sql: sql, same: true}
	}
	return arrival{sql: there + strings.TrimPrefix(sql, t.SQL), same: true, text: !binary} // keeps the modifier
}

// arrayArrival is arrivalOf for an array. Its binary form holds the oid of the
// element's type, which only built-in types share between databases.
func arrayArrival(sql string, t postgres.Type, destination postgres.TypeSet) arrival {
	element := arrivalOf(t.Element.SQL, *t.Element, destination)
	if !element.same {
		return arrival{sql: element.sql + "[]"}
	}
	_, binary, ok := destination.Find(t)
	switch {
	case ok && t.BuiltIn():
		return arrival{sql: sql, same: true, text: !binary}
	case base(*t.Element).BuiltIn():
		return arrival{sql: element.sql + "[]"}
	}
	return arrival{sql: element.sql + "[]", same: true, text: true}
}

// base follows a domain to what it is made of.
func base(t postgres.Type) postgres.Type {
	for t.Base != nil {
		t = *t.Base
	}
	return t
}

// isReference reports whether values of the type are oids of one database's
// catalog, which name something else in another.
func isReference(t postgres.Type) bool {
	return t.BuiltIn() && strings.HasPrefix(t.Name, "reg")
}

var scaled = regexp.MustCompile(`^numeric\((\d+),(-?\d+)\)`)

// plainNumeric leaves out a precision and scale that only PostgreSQL 15 knows.
func plainNumeric(sql string) string {
	m := scaled.FindStringSubmatch(sql)
	if m == nil {
		return sql
	}
	precision, err := strconv.Atoi(m[1])
	scale, err2 := strconv.Atoi(m[2])
	if err != nil || err2 != nil || scale >= 0 && scale <= precision {
		return sql
	}
	return "numeric" + strings.TrimPrefix(sql, m[0])
}

// isInterval reports whether values of the type are intervals, or hold some.
func isInterval(t postgres.Type) bool {
	t = base(t)
	if t.Element != nil {
		return isInterval(*t.Element)
	}
	return t.BuiltIn() && t.Name == "interval"
}
