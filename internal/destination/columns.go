package destination

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A Column is how one source column is extracted and loaded.
type Column struct {
	Source  relation.Column
	Name    string // in the destination
	SQL     string // its type there
	Extract string // the expression that the source evaluates
	text    bool   // whether its values have no binary form that means the same in the destination
}

// columnOf decides the destination type of a source column, and which expression makes the
// source send values of that type.
func columnOf(source relation.Column, destination relation.TypeSet) Column {
	a := mapType(pgclient.Ident(source.Name), source.SQL, source.Type, destination)
	return Column{Source: source, Name: source.Name, SQL: a.sql, Extract: a.value, text: a.text}
}

// AsKey is the column as a replication key, in a type that PostgreSQL's own operators are
// defined for: users may have defined others for a domain, or for varchar. Rows that a user's
// collation would order, which its owner may replace, are ordered by their bytes.
func (c Column) AsKey() Column {
	if strings.HasPrefix(c.SQL, "character varying") {
		c.SQL = "text"
	}
	if c.Source.ForeignCollation {
		c.SQL += ` COLLATE pg_catalog."C"`
	}
	if c.SQL != c.Source.SQL {
		c.Extract = fmt.Sprintf("(%s)::%s", pgclient.Ident(c.Source.Name), c.SQL)
	}
	return c
}

// asText is the column where the destination stores its values as text.
func (c Column) asText() Column {
	c.SQL, c.Extract, c.text = "text", relation.OutputText(pgclient.Ident(c.Source.Name), c.Source.Type), false
	return c
}

// Converted reports whether the source converts values that are not text to text.
func (c Column) Converted() bool {
	return strings.HasPrefix(c.SQL, "text") && c.Extract != pgclient.Ident(c.Source.Name)
}

// Sent is the expression for a value as the source sends it.
func (c Column) Sent() string { return c.Extract }

// Stored is the expression for the corresponding value of the destination.
func (c Column) Stored() string { return asStored(pgclient.Ident(c.Name), c.SQL) }

// asStored is the expression by which values of a type are compared. XML is written without
// its declaration, so it is read as the text that it was made of.
func asStored(value, sql string) string {
	if sql == "xml" || sql == "xml[]" {
		return "(" + value + ")::pg_catalog." + strings.Replace(sql, "xml", "text", 1)
	}
	return value
}

// A typeMapping says how values of a type are sent and stored.
type typeMapping struct {
	sql   string // their type in the destination
	value string // the expression that the source evaluates
	text  bool   // whether only its text form means the same there
}

// mapType returns how value is sent and stored. value is an expression of type t, and sql is
// how the source writes t, with its modifier. mapType writes the destination's type in the
// destination's own words: the source's text could be any statement.
//
// An enum arrives as its label, a domain as its base type, and a composite as its text form.
// A type that the destination does not have arrives as its text form too. Other types arrive
// as they are, in text form where the binary form could mean something else.
//
// mapType never casts a value from or to a type whose owner could have defined the cast: the
// cast would run the owner's function. It calls an output function by name instead. A cast
// from a domain to its base type is always PostgreSQL's own.
func mapType(value, sql string, t relation.Type, destination relation.TypeSet) typeMapping {
	switch {
	case t.Base != nil:
		a := mapType(value, t.BaseSQL, *t.Base, destination)
		if a.value != value { // a domain itself is sent as its base type is
			a = mapType(fmt.Sprintf("(%s)::%s", value, relation.BaseSQL(t)), t.BaseSQL, relation.Base(t), destination)
		}
		return a
	case t.Element != nil:
		return mapArrayType(value, sql, t, destination)
	case relation.IsXML(t):
		return typeMapping{sql: "xml", value: asStored(value, "xml"), text: true}
	case t.Kind == "e" || t.Kind == "c" || isReference(t):
		return typeMapping{sql: "text", value: relation.OutputText(value, t)}
	}
	there, binary, ok := destination.Find(t, sql)
	if !ok || t.BuiltIn() && !binary { // such as aclitem, which names roles
		return typeMapping{sql: "text", value: relation.OutputText(value, t)}
	}
	return typeMapping{sql: there, value: value, text: !binary}
}

// mapArrayType is mapType for an array. Its binary form holds the oid of the element's type,
// and only built-in types have the same oid in all databases.
func mapArrayType(value, sql string, t relation.Type, destination relation.TypeSet) typeMapping {
	const each = "each"
	if relation.IsXML(*t.Element) {
		return typeMapping{sql: "xml[]", value: asStored(value, "xml[]"), text: true}
	}
	element := mapType(each, t.Element.SQL, *t.Element, destination)
	array := element.sql + "[]"
	if relation.Base(*t.Element).Element != nil && t.Element.Base != nil {
		return typeMapping{sql: "text[]", value: fmt.Sprintf("(%s)::pg_catalog.text[]", relation.OutputText(value, t))} // an array of arrays would be one of more dimensions
	}
	if element.value != each || t.Element.Base != nil && relation.Base(*t.Element).BuiltIn() {
		if t.Element.Kind == "b" { // its elements may be separated by another character, and only superusers make such types
			return typeMapping{sql: array, value: fmt.Sprintf("(%s)::%s", value, array)}
		}
		return typeMapping{sql: array, value: fmt.Sprintf("(%s)::%s", relation.OutputText(value, t), array)}
	}
	if there, binary, ok := destination.Find(t, sql); ok && t.BuiltIn() {
		return typeMapping{sql: there, value: value, text: !binary}
	}
	return typeMapping{sql: array, value: value, text: true}
}

// isReference reports whether values of the type are oids of one database's catalog, which
// name something else in another database.
func isReference(t relation.Type) bool {
	return t.BuiltIn() && strings.HasPrefix(t.Name, "reg")
}

var scaled = regexp.MustCompile(`^numeric\((\d+),(-?\d+)\)`)

// plainNumeric leaves out a precision and scale that servers before PostgreSQL 15 do not
// accept.
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
func isInterval(t relation.Type) bool {
	t = relation.Base(t)
	if t.Element != nil {
		return isInterval(*t.Element)
	}
	return t.BuiltIn() && t.Name == "interval"
}

// Fractions are the numbers of decimal places that an amount of money has on both sides.
type Fractions struct{ Source, Destination int }

// HoldsMoney reports whether values of a column are amounts of money, or hold some.
func HoldsMoney(c relation.Column) bool { return c.Type.Holds("money") }

// asAmount is the column as a number, where money in the destination would be another amount.
func (c Column) asAmount(of Fractions) Column {
	if of.Source == of.Destination || !HoldsMoney(c.Source) {
		return c
	}
	units := math.Pow10(of.Source)
	c.Extract = fmt.Sprintf("pg_catalog.round((%s)::pg_catalog.money::pg_catalog.numeric OPERATOR(pg_catalog.*) 100 OPERATOR(pg_catalog./) %.0f, %d)",
		pgclient.Ident(c.Source.Name), units, of.Source) // with the two places of the locale that is pinned
	c.SQL, c.text, c.Source.Missing = "numeric", false, nil
	return c
}

// ExtractedColumns returns how selected columns of a table are extracted, between servers of
// those major versions and with those fractions of money.
func ExtractedColumns(selected []relation.Column, types relation.TypeSet, source, destination int, money Fractions) []Column {
	var columns []Column
	for _, from := range selected {
		c := columnOf(from, types).asAmount(money)
		// PostgreSQL 17 has infinite intervals, which older servers would read as very long ones.
		c.text = c.text || source >= 17 && destination < 17 && isInterval(from.Type)
		if destination < 15 {
			c.SQL = plainNumeric(c.SQL)
		}
		columns = append(columns, c)
	}
	return columns
}
