package relation

import "fmt"

// OutputText is an expression for the text form of a value of type t.
func OutputText(value string, t Type) string {
	if t.Base != nil {
		value = fmt.Sprintf("(%s)::%s", value, BaseSQL(t))
	}
	return fmt.Sprintf("pg_catalog.textin(%s(%s))", Base(t).Output, value)
}

// Base follows a domain to the type that it is made of.
func Base(t Type) Type {
	for t.Base != nil {
		t = *t.Base
	}
	return t
}

// BaseSQL is how the type that Base returns is written, with its modifier.
func BaseSQL(t Type) string {
	sql := t.SQL
	for ; t.Base != nil; t = *t.Base {
		sql = t.BaseSQL
	}
	return sql
}

// IsXML reports whether values of the type are XML, which is sent as the text that it was
// made of: output functions leave out its declaration.
func IsXML(t Type) bool { return t.BuiltIn() && t.Name == "xml" }

// IsArrayOfXMLDomains reports whether the elements of an array cannot be read as the text
// that they were made of: a cast of the array might be a function of the domain's owner.
func IsArrayOfXMLDomains(t Type) bool {
	t = Base(t)
	return t.Element != nil && t.Element.Base != nil && IsXML(Base(*t.Element))
}
