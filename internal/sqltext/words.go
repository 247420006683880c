package sqltext

import "strings"

// set returns the set of words in a text, in which blanks separate them.
func set(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}

// keywords are those that a name cannot be without quotes, and others that an expression or a
// list may follow. A word in front of a parenthesis that is not among them is a name: of a
// function, or of an object with columns.
var keywords = set(`
	all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
	concurrently constraint create cross current_catalog current_date current_role current_schema current_time
	current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from full
	grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
	localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning right
	select session_user similar some symmetric table tablesample then to trailing true union unique user using variadic
	verbose when where window with

	between bigint bit boolean char character coalesce dec decimal exists extract float greatest grouping int integer
	interval least national nchar none normalize nullif numeric out overlay position precision real row
	setof smallint substring time timestamp treat trim values varchar xmlattributes xmlconcat xmlelement xmlexists
	xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable

	add aggregate alter begin by call comment conflict copy cube declare delete drop enum escape execute explain filter
	following function hash identity if include inherits insert key list materialized nowait of operator options over
	partition perform preceding procedure range recursive reindex return returns rollup routine rows set sets share
	skip stdin stdout temp temporary unlogged update vacuum values while within without zone`)

// functionKeywords are keywords that are functions if a parenthesis follows.
var functionKeywords = set(`left right current_schema`)

// grammarTypes are those that PostgreSQL's grammar resolves, to pg_catalog.
var grammarTypes = set(`
	bigint bit boolean char character dec decimal double float int integer interval nchar national numeric real smallint time timestamp varchar`)

// otherTypes are built-in types that the search_path resolves, and that may precede a string:
// date '2020-01-01'.
var otherTypes = set(`
	bool bpchar bytea cidr date float4 float8 inet int2 int4 int8 json jsonb money name oid regclass regnamespace regproc
	regprocedure regrole regtype text tid timestamptz timetz uuid varbit xid xid8 xml`)

// namesRelations are keywords that the name of a relation follows.
const namesRelations = "analyze copy from into join only references table truncate update view"

// namesColumns are keywords after which a name in front of a parenthesis is no function: the
// parenthesis holds the columns or the modifiers of the object.
const namesColumns = "analyze as column constraint copy index into prepare references table type update view"
