package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// An ExistsError says that a definition for the schema is already stored.
type ExistsError struct{ SchemaName, Name string }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("schema %q already belongs to the replication %q: choose another schema_name, "+
		"or import that replication", e.SchemaName, e.Name)
}

// IsExisting reports whether Create failed because a definition for the schema is already
// stored.
func IsExisting(err error) bool {
	var exists *ExistsError
	return errors.As(err, &exists) || errors.Is(err, catalog.ErrExists)
}

// Adopt takes over a definition that Create found stored because a process died before it
// could record what it had created. The definition must be the same, and no run may have
// begun. Otherwise Adopt returns the reasons, a line each, and changes nothing.
func Adopt(ctx context.Context, destination pgclient.Endpoint, d definition.Definition, adoptTables bool, source pgclient.Identity) (refusals []string, err error) {
	err = withRetry(ctx, destination, d.SchemaName, catalog.Install, func(tx pgx.Tx, g *grantTx) error {
		stored, err := catalog.ReplicationOf(ctx, tx, d.SchemaName)
		if err != nil {
			return err
		}
		history, err := catalog.HistoryOf(ctx, tx, stored.ID)
		if err != nil {
			return err
		}
		if refusals, err = refusalsOf(d, stored, history); err != nil || len(refusals) > 0 {
			return err
		}
		return completeCreation(ctx, tx, g, stored.ID, d, adoptTables, source)
	})
	if err != nil {
		return nil, fmt.Errorf("adopt replication %q: %w", d.Name, err)
	}
	return refusals, nil
}

// refusalsOf returns why d does not take over a stored definition.
func refusalsOf(d definition.Definition, stored catalog.Replication, history catalog.History) ([]string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var have, want any
	if err := errors.Join(json.Unmarshal(stored.Definition, &have), json.Unmarshal(text, &want)); err != nil {
		return nil, err
	}
	lines := differences("", have, want)
	if history.Runs > 0 {
		lines = append(lines, fmt.Sprintf("recorded runs: %d", history.Runs))
	}
	if history.Tables > 0 {
		lines = append(lines, fmt.Sprintf("loaded tables: %d", history.Tables))
	}
	if stored.SchemaCreated {
		lines = append(lines, "one of its runs created the schema")
	}
	if stored.SourceSystem != "" {
		lines = append(lines, "its runs have read from the cluster "+stored.SourceSystem)
	}
	return lines, nil
}

// plainMember is a name that follows a dot.
var plainMember = regexp.MustCompile(`^[a-z_]+$`)

// differences names the members that differ between two JSON values.
func differences(path string, have, want any) (lines []string) {
	a, isObjectA := have.(map[string]any)
	b, isObjectB := want.(map[string]any)
	if !isObjectA || !isObjectB {
		if !reflect.DeepEqual(have, want) {
			lines = append(lines, fmt.Sprintf("%s is %s, not %s", path, asJSON(have), asJSON(want)))
		}
		return lines
	}
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		member := path + "." + name
		switch {
		case !plainMember.MatchString(name):
			member = fmt.Sprintf("%s[%q]", path, name)
		case path == "":
			member = name
		}
		_, has := a[name]
		_, wants := b[name]
		switch {
		case !wants:
			lines = append(lines, fmt.Sprintf("%s is %s, but is not configured", member, asJSON(a[name])))
		case !has:
			lines = append(lines, fmt.Sprintf("%s is not set, but should be %s", member, asJSON(b[name])))
		default:
			lines = append(lines, differences(member, a[name], b[name])...)
		}
	}
	return lines
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value) // never: it was read from JSON
	}
	return string(text)
}
