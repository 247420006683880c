package definition

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A Problem is something wrong with a definition.
type Problem struct {
	Table     string // key in Definition.Tables
	Attribute string // of the Selection, as users write it; "" for the table itself
	Message   string
}

func (p Problem) Error() string { return fmt.Sprintf("table %s: %s", p.Table, p.Message) }

// keyTypes are the built-in types that a replication key may have.
var keyTypes = []string{
	"int2", "int4", "int8", "numeric", "timestamp", "timestamptz", "date", "text", "varchar", "uuid",
}

// maxColumns is how many columns PostgreSQL lets a table have.
const maxColumns = 1600

// systemNamesOfPostgres are names that PostgreSQL reserves for its system columns. Views may
// use them.
var systemNamesOfPostgres = []string{"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}

// Check returns what is wrong with the definition in itself.
func (d Definition) Check() []Problem {
	problems := d.duplicates()
	if len(problems) > 0 {
		return problems
	}
	for _, key := range d.Keys() {
		problems = append(problems, d.checkTable(key)...)
	}
	return append(problems, d.collisions()...)
}

// duplicates finds tables of the source that are listed under two keys.
func (d Definition) duplicates() []Problem {
	first := map[string]string{}
	var problems []Problem
	for _, key := range d.Keys() {
		name := CanonicalKey(key)
		other, taken := first[name]
		if !taken {
			first[name] = key
			continue
		}
		problems = append(problems, Problem{key, "", fmt.Sprintf("it is the same table as %s: list it once", other)})
	}
	return problems
}

func (d Definition) checkTable(key string) []Problem {
	var problems []Problem
	report := func(attribute, format string, args ...any) {
		problems = append(problems, Problem{key, attribute, fmt.Sprintf(format, args...)})
	}
	name, err := d.TableNameOf(key)
	if err != nil {
		report("", "%s", err)
		return problems
	}
	selection := d.Tables[key]
	if err := pgclient.CheckName(name); err != nil {
		report("table_name", "%s: set table_name to a shorter name for the destination", err)
	}
	if strings.HasPrefix(strings.ToLower(name), ReservedPrefix) {
		report("table_name", "the name %q starts with %s, which is reserved: set table_name to another name for the destination", name, ReservedPrefix)
	}
	switch {
	case selection.Method == LogBased:
		report("replication_method", "LOG_BASED is not supported yet: use INCREMENTAL with a replication_key, or FULL_TABLE")
	case selection.Method != FullTable && selection.Method != Incremental:
		report("replication_method", "%q is not a replication method: use INCREMENTAL or FULL_TABLE", selection.Method)
	case selection.Method == Incremental && selection.ReplicationKey == "":
		report("replication_key", "INCREMENTAL needs a replication_key: the column that says which rows are new, such as updated_at")
	case selection.Method == FullTable && selection.ReplicationKey != "":
		report("replication_key", "FULL_TABLE replicates all rows each time and uses no replication_key: remove it, or use INCREMENTAL")
	}
	if selection.Columns != nil && selection.ExcludeColumns != nil {
		report("exclude_columns", "give either columns or exclude_columns, not both")
	}
	return problems
}

// collisions finds tables that would have the same name in the destination.
func (d Definition) collisions() []Problem {
	first := map[string]string{}
	var problems []Problem
	for _, key := range d.Keys() {
		name, err := d.TableNameOf(key)
		if err != nil {
			continue
		}
		other, taken := first[name]
		if !taken {
			first[name] = key
			continue
		}
		problems = append(problems, Problem{key, "table_name", fmt.Sprintf(
			"%s and %s would both be loaded into the table %q: set table_name of one of them, or include_schema_in_table_names = true",
			other, key, name)})
	}
	return problems
}

// CheckSource returns what is wrong with the definition given the tables that the source has.
func (d Definition) CheckSource(tables map[relation.TableName]relation.Table) []Problem {
	var problems []Problem
	for _, key := range d.Keys() {
		name, err := relation.ParseTableName(key)
		if err != nil {
			continue // Check reports it
		}
		table, ok := tables[name]
		if !ok {
			problems = append(problems, Problem{key, "", d.NoTable(name)})
			continue
		}
		problems = append(problems, d.Tables[key].Check(key, table)...)
	}
	return problems
}

// KeepsVersions lists the INCREMENTAL tables in which nothing identifies a row: the
// destination keeps each version of a row that it was given.
func (d Definition) KeepsVersions(tables map[relation.TableName]relation.Table) []string {
	var keep []string
	for _, key := range d.Keys() {
		name, err := relation.ParseTableName(key)
		table, ok := tables[name]
		if err == nil && ok && d.Tables[key].KeepsVersions(table) {
			keep = append(keep, key)
		}
	}
	return keep
}

// KeepsVersionsWarning is the warning about such tables.
const KeepsVersionsWarning = "no key identifies the rows: when a row changes, its new version is loaded in addition to the earlier ones. " +
	"Set view_key_properties for a view, give a table a primary key, or use FULL_TABLE"

// KeepsVersions reports whether nothing identifies a row of the INCREMENTAL table.
func (s Selection) KeepsVersions(table relation.Table) bool {
	return s.Method == Incremental && len(s.KeyColumns(table)) == 0
}

// NoTable says that the source has no such table.
func (d Definition) NoTable(name relation.TableName) string {
	return fmt.Sprintf("database %q of server %q has no table or view %s", d.Source.Database, d.Source.Server, name)
}

// Hint suggests what the source has instead of a table that does not exist. relations holds
// the names of its relations, by schema.
func Hint(name relation.TableName, relations map[string][]string) string {
	names, ok := relations[name.Schema]
	if !ok {
		return fmt.Sprintf("Schema %q does not exist", name.Schema)
	}
	for _, other := range names {
		if strings.EqualFold(other, name.Name) {
			return fmt.Sprintf("Did you mean %s? Names are case-sensitive", relation.TableName{Schema: name.Schema, Name: other})
		}
	}
	return "Schema " + name.Schema + " has " + ListSome(names)
}

// ListSome lists names, up to a limit.
func ListSome(names []string) string {
	const shown = 20
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}

// Check returns what is wrong with the selection for this table.
func (s Selection) Check(key string, table relation.Table) []Problem {
	var problems []Problem
	report := func(attribute, format string, args ...any) {
		problems = append(problems, Problem{key, attribute, fmt.Sprintf(format, args...)})
	}
	if len(table.Columns) == 0 {
		report("", "%s has no columns: there is nothing to replicate", table.Name)
		return problems
	}
	if table.Unpopulated {
		report("", "%s has never been populated and cannot be read: run REFRESH MATERIALIZED VIEW %[1]s", table.Name)
	}
	for _, list := range []struct {
		attribute string
		columns   []string
	}{{"columns", s.Columns}, {"exclude_columns", s.ExcludeColumns}, {"view_key_properties", s.ViewKeyProperties}} {
		for _, name := range list.columns {
			if _, ok := table.Column(name); !ok {
				report(list.attribute, "%s", noColumn(table, name))
			}
		}
	}
	if table.Kind.HasKeys() && s.ViewKeyProperties != nil {
		report("view_key_properties", "%s is a table, and its key is its primary key: remove view_key_properties, which sets the key of a view", table.Name)
	}
	for _, name := range s.ExcludeColumns {
		if slices.Contains(s.KeyColumns(table), name) || name == s.ReplicationKey {
			report("exclude_columns", "column %q is part of the key and is always replicated", name)
		}
	}
	if s.ReplicationKey != "" {
		if message := checkReplicationKey(table, s.ReplicationKey); message != "" {
			report("replication_key", "%s", message)
		}
	}
	selected := s.Selected(table)
	if surplus := len(selected) + len(SystemColumns) - maxColumns; surplus > 0 {
		report("exclude_columns", "%d columns are selected and %d system columns are added to them, but a table can have at most %d columns: exclude %d of them",
			len(selected), len(SystemColumns), maxColumns, surplus)
	}
	for _, column := range selected {
		if slices.Contains(systemNamesOfPostgres, column.Name) {
			report("exclude_columns", "column %q has a name that PostgreSQL reserves for a system column: exclude the column, or give it another name in the view", column.Name)
		}
		if !utf8.ValidString(column.Name) {
			report("exclude_columns", "the name of column number %d, %q, is not valid UTF-8: rename the column, or leave it out by listing the other columns in columns", column.Number, column.Name)
		}
		if relation.IsArrayOfXMLDomains(column.Type) {
			report("exclude_columns", "column %q is an array of a domain over xml, and the source sends its elements without their XML declarations (<?xml ... ?>): exclude it, or replicate it through a view as xml[]", column.Name)
		}
		if strings.HasPrefix(strings.ToLower(column.Name), ReservedPrefix) {
			report("exclude_columns", "the name of column %q starts with %s, which is reserved: exclude the column", column.Name, ReservedPrefix)
		}
	}
	if len(selected) == 0 {
		report("columns", "no column of %s is selected", table.Name)
	}
	return problems
}

func checkReplicationKey(table relation.Table, name string) string {
	column, ok := table.Column(name)
	if !ok {
		return noColumn(table, name)
	}
	base := column.Type
	for base.Base != nil {
		base = *base.Base
	}
	if !base.BuiltIn() || !slices.Contains(keyTypes, base.Name) {
		return fmt.Sprintf("column %q of %s is of type %s, which cannot order rows: use a column of one of the types %s",
			name, table.Name, column.SQL, strings.Join(keyTypes, ", "))
	}
	return ""
}

// Regressions divides the problems of d. Regressions are problems with tables that the
// definition before has unchanged, from the same source: the source has changed since, and a
// run fails for these tables alone. Mistakes are problems with what is new or changed.
func (d Definition) Regressions(problems []Problem, before Definition) (regressions, mistakes []Problem) {
	selected := map[string]Selection{}
	if d.Source == before.Source {
		for _, key := range before.Keys() {
			selected[CanonicalKey(key)] = before.Tables[key]
		}
	}
	for _, p := range problems {
		if selection, ok := selected[CanonicalKey(p.Table)]; ok && reflect.DeepEqual(selection, d.Tables[p.Table]) {
			regressions = append(regressions, p)
		} else {
			mistakes = append(mistakes, p)
		}
	}
	return regressions, mistakes
}

// noColumn says that the table lacks a column, and lists the columns that it has.
func noColumn(table relation.Table, name string) string {
	var names []string
	for _, c := range table.Columns {
		names = append(names, c.Name)
	}
	return fmt.Sprintf("%s has no column %q. Its columns are %s", table.Name, name, ListSome(names))
}

// KeyColumns returns the columns that identify a row: the primary key or, for a view, the
// columns that the definition names.
func (s Selection) KeyColumns(table relation.Table) []string {
	if table.Kind.HasKeys() {
		return table.Key
	}
	return s.ViewKeyProperties
}

// Selected returns the columns to replicate, in the table's order. It always includes those
// of the key.
func (s Selection) Selected(table relation.Table) []relation.Column {
	always := map[string]bool{s.ReplicationKey: true}
	for _, name := range s.KeyColumns(table) {
		always[name] = true
	}
	var columns []relation.Column
	for _, c := range table.Columns {
		wanted := s.Columns == nil || slices.Contains(s.Columns, c.Name)
		if always[c.Name] || wanted && !slices.Contains(s.ExcludeColumns, c.Name) {
			columns = append(columns, c)
		}
	}
	return columns
}

// SourceTable returns the name at the source of the table that the definition has under that
// key. The engine reads only tables that the definition names.
func (d Definition) SourceTable(key string) (relation.TableName, error) {
	if _, ok := d.Tables[key]; !ok {
		return relation.TableName{}, fmt.Errorf("the definition has no table %q", key)
	}
	return relation.ParseTableName(key)
}

// SourceTables returns the names of the tables at the source that can be parsed.
func (d Definition) SourceTables() []relation.TableName {
	var names []relation.TableName
	for _, key := range slices.Sorted(maps.Keys(d.Tables)) {
		if name, err := relation.ParseTableName(key); err == nil {
			names = append(names, name)
		}
	}
	return names
}
