package pgclient

import (
	"fmt"
	"strings"
)

// A Setting is one that a session must have, whatever the login, the role, the database or the
// server sets.
type Setting struct {
	Name, Value string // as SHOW writes them
	Since       int    // the major version that has it
	Before      int    // the first one that no longer has it; 0: none
}

// in reports whether a major version has the setting.
func (s Setting) in(major int) bool { return major >= s.Since && (s.Before == 0 || major < s.Before) }

// In returns the settings that a major version has.
func In(major int, settings []Setting) []Setting {
	var all []Setting
	for _, s := range settings {
		if s.in(major) {
			all = append(all, s)
		}
	}
	return all
}

// ValueSettings are all settings that affect what statements mean, and how values are written
// and read. Sessions of the source and the destination have the same, so that one reads what the
// other writes. So do the sessions that provision, which compare values as text.
//
// Settings that affect neither are left out: how a query is planned, how a table is stored
// (default_toast_compression, default_tablespace), whether triggers fire
// (session_replication_role, which only a superuser can set), and the language of errors
// (lc_messages).
var ValueSettings = []Setting{
	// This setting affects how SHOW writes the path, and so precedes the path.
	{Name: "quote_all_identifiers", Value: "off"},
	{Name: "search_path", Value: "pg_catalog, pg_temp"}, // pg_temp comes last; unless it is listed, it comes first
	{Name: "client_encoding", Value: "UTF8"},
	{Name: "standard_conforming_strings", Value: "on"},
	{Name: "backslash_quote", Value: "safe_encoding"},
	{Name: "transform_null_equals", Value: "off"},
	{Name: "array_nulls", Value: "on"},
	{Name: "extra_float_digits", Value: "3"},
	{Name: "bytea_output", Value: "hex"},
	{Name: "datestyle", Value: "ISO, YMD"},
	{Name: "intervalstyle", Value: "postgres"},
	{Name: "timezone", Value: "UTC"},
	{Name: "timezone_abbreviations", Value: "Default"},
	{Name: "lc_monetary", Value: "C"},
	{Name: "lc_numeric", Value: "C"}, // this and the next two: of functions that views call
	{Name: "lc_time", Value: "C"},
	{Name: "default_text_search_config", Value: "pg_catalog.simple"},
	{Name: "xmloption", Value: "content"},
	{Name: "xmlbinary", Value: "base64"},
	{Name: "gin_fuzzy_search_limit", Value: "0"}, // another value leaves rows out
	{Name: "default_with_oids", Value: "off", Before: 12},
}

// pinSQL sets the settings for values, for a session or only for its transaction.
func pinSQL(major int, local bool) string {
	var calls []string
	for _, s := range In(major, ValueSettings) {
		calls = append(calls, fmt.Sprintf("pg_catalog.set_config(%s, %s, %t)", Literal(s.Name), Literal(s.Value), local))
	}
	return "SELECT " + strings.Join(calls, ", ")
}
