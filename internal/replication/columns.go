package replication

import (
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A column is how one source column is extracted and loaded.
type column struct {
	source  postgres.Column
	name    string // in the destination
	sql     string // its type there
	extract string // the expression that the source evaluates
}

// columnOf decides the destination type of a source column, and what the source
// has to send so that its binary form is one of that type.
func columnOf(source postgres.Column, destination postgres.TypeSet) column {
	sql, same := destinationType(source.SQL, source.Type, destination)
	c := column{source: source, name: source.Name, sql: sql, extract: postgres.Ident(source.Name)}
	if !same {
		c.extract = fmt.Sprintf("(%s)::%s", c.extract, sql)
	}
	return c
}

// destinationType returns the type that values of type t have in the
// destination, and whether they can be sent as they are. The type is written
// sql at the source, with its modifier.
//
// An enum arrives as its label, a domain as its base type, a composite as its
// text form, and so does what the destination does not have or what has no
// binary form that means the same elsewhere.
func destinationType(sql string, t postgres.Type, destination postgres.TypeSet) (string, bool) {
	switch {
	case t.Base != nil:
		sql, _ := destinationType(t.BaseSQL, *t.Base, destination)
		return sql, false
	case t.Element != nil && !portableArray(t, destination):
		// The binary form of an array holds the oid of its element type, which
		// only built-in types share between databases.
		element, same := destinationType(t.Element.SQL, *t.Element, destination)
		if same {
			element = "text"
		}
		return element + "[]", false
	case t.Kind == "e" || t.Kind == "c" || !t.Sendable || isReference(t):
		return "text", false
	}
	there, ok := destination.Find(t)
	if !ok {
		return "text", false
	}
	if t.BuiltIn() {
		return sql, true
	}
	return there + strings.TrimPrefix(sql, t.SQL), true // keeps the modifier
}

// base follows a domain to what it is made of.
func base(t postgres.Type) postgres.Type {
	for t.Base != nil {
		t = *t.Base
	}
	return t
}

// portableArray reports whether the destination has this very array type, with
// elements that mean the same there.
func portableArray(t postgres.Type, destination postgres.TypeSet) bool {
	_, ok := destination.Find(t)
	return ok && t.BuiltIn() && t.Element.Sendable && !isReference(*t.Element)
}

// isReference reports whether values of the type are oids of one database's
// catalog, which name something else in another.
func isReference(t postgres.Type) bool {
	return t.BuiltIn() && strings.HasPrefix(t.Name, "reg")
}
