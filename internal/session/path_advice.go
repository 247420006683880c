package session

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// Functions of a view run under the path of the engine's sessions. A function that expects
// another path, such as that of its owner, does not find what it names without a schema.

// failedFunction matches the function that an error came from, in the context that PostgreSQL
// adds to the error: the innermost function comes first.
var failedFunction = regexp.MustCompile(`(?:PL/\w+ function|SQL function) "?(.+?)"? (?:line|during|statement|startup)`)

// PathAdvice says what to do about an error of a function that does not find what it names,
// or "" if it is another error.
func PathAdvice(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return ""
	}
	switch pg.Code {
	case pgclient.UndefinedFunction, pgclient.UndefinedTable, pgclient.UndefinedObject, pgclient.InvalidSchemaName: // function or operator, table, type, schema
	default:
		return ""
	}
	function := failedFunction.FindStringSubmatch(pg.Where)
	if function == nil {
		return ""
	}
	return fmt.Sprintf("The function %s cannot find that object, because runs set search_path to pg_catalog, pg_temp: they look up no name in a schema that other roles can write to. "+
		"Put the schema before the name in the function, or give the function a path of its own: ALTER FUNCTION %[1]s SET search_path = <its schemas>, pg_temp", function[1])
}
