package replication

import (
	"fmt"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// outputText is an expression for the text form of a value of type t.
func outputText(value string, t relation.Type) string {
	if t.Base != nil {
		value = fmt.Sprintf("(%s)::%s", value, baseSQL(t))
	}
	return fmt.Sprintf("pg_catalog.textin(%s(%s))", base(t).Output, value)
}

// base follows a domain to the type that it is made of.
func base(t relation.Type) relation.Type {
	for t.Base != nil {
		t = *t.Base
	}
	return t
}

// baseSQL is how the type that base returns is written, with its modifier.
func baseSQL(t relation.Type) string {
	sql := t.SQL
	for ; t.Base != nil; t = *t.Base {
		sql = t.BaseSQL
	}
	return sql
}

// isXML reports whether values of the type are XML, which is sent as the text that it was
// made of: output functions leave out its declaration.
func isXML(t relation.Type) bool { return t.BuiltIn() && t.Name == "xml" }

// isArrayOfXMLDomains reports whether the elements of an array cannot be read as the text
// that they were made of: a cast of the array might be a function of the domain's owner.
func isArrayOfXMLDomains(t relation.Type) bool {
	t = base(t)
	return t.Element != nil && t.Element.Base != nil && isXML(base(*t.Element))
}
