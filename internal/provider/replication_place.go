package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// A replication has two places. The place of its destination holds its row in the catalog: that
// makes it a located resource. Its source may become another database. Whether it has is remembered
// next to the identity, and counted in the definition, which makes another revision of it.

// ofReplication is the place of a replication: its destination.
func ofReplication() place {
	return place{
		in:        "destination",
		attribute: "server",
		words:     placeWords{system: "system identifier", object: "replication", number: "row of _stitch.replication"},
		entries:   func(c *clients) entries { return c.serverNames },
		identify: func(ctx context.Context, c *clients, entry string, plans bool, of attributes) (identity, error) {
			destination, schemaName, err := replicationAt(ctx, c, entry, plans, of)
			if err != nil {
				return identity{}, err
			}
			return asIdentity(replication.DestinationIdentity(ctx, destination, schemaName))
		},
		lost: func(ctx context.Context, c *clients, entry string, of attributes) error {
			var force types.Bool
			of.GetAttribute(ctx, path.Root("force_destroy"), &force)
			destination, schemaName, err := replicationAt(ctx, c, entry, true, of)
			if err != nil || !force.ValueBool() {
				return err
			}
			losses, err := postgres.Losses(ctx, destination.Server, destination.Database, schemaName)
			if err != nil || len(losses) == 0 {
				return err
			}
			return fmt.Errorf("force_destroy is set, and these tables would be dropped:\n  %s", strings.Join(losses, "\n  "))
		},
		moves: func(ctx context.Context, c *clients, of attributes) {
			destination, schemaName, err := replicationAt(ctx, c, ofReplication().entry(ctx, of), true, of)
			if err == nil {
				c.claims.markMoved(replicationObject(destination, schemaName))
			}
		},
	}
}

// replicationAt returns where the catalog of a replication would be if an entry led there.
func replicationAt(ctx context.Context, c *clients, entry string, plans bool, of attributes) (pgclient.Endpoint, string, error) {
	server, err := c.server(entry)
	if err != nil {
		return pgclient.Endpoint{}, "", err
	}
	if plans {
		server = server.Planning()
	}
	var database types.String
	of.GetAttribute(ctx, path.Root("destination").AtName("database"), &database)
	return pgclient.Endpoint{Server: server, Database: database.ValueString()}, text(ctx, of, "schema_name"), nil
}

// asIdentity converts what a server reports. All fields are empty for a database that the server
// does not have.
func asIdentity(id pgclient.Identity, err error) (identity, error) {
	if isMissingDatabase(err) {
		return identity{}, nil
	}
	return identity{System: id.System, Started: id.Started, Database: id.Database, Object: id.Object}, err
}

// A source is what is remembered of the source of a replication. It is empty while nothing is.
type source struct {
	identity
	Changes int       `json:"changes"`       // see definition.Definition
	Now     *identity `json:"now,omitempty"` // what the same entry led to at the latest refresh, if that was another database
}

// sourceKey is where the private state keeps the source.
const sourceKey = "source"

// sourceWords are the words for the parts of the source's identity in messages.
var sourceWords = placeWords{system: "system identifier", object: "database", number: "oid"}

func storedSource(ctx context.Context, private privateState) (s source) {
	text, _ := private.GetKey(ctx, sourceKey)
	if text == nil || json.Unmarshal(text, &s) != nil {
		return source{}
	}
	return s
}

func (s source) store(ctx context.Context, private privateState) diag.Diagnostics {
	text, err := json.Marshal(s)
	if err != nil {
		return diag.Diagnostics{diagnose("Cannot store the identity of the source", err)}
	}
	return private.SetKey(ctx, sourceKey, text)
}

// remembered returns nil while nothing is known.
func (s source) remembered() *identity {
	if s.identity == (identity{}) {
		return nil
	}
	return &s.identity
}

// isFound notes what the entry of the source leads to now, and reports whether that is a database
// other than the one that was applied.
func (s *source) isFound(now identity) (elsewhere bool) {
	s.Now = nil
	if s.isElsewhere(now) {
		s.Now = &now
		return true
	}
	now.System = cmp.Or(now.System, s.System) // the login may have lost a privilege
	s.identity = now
	return false
}

// identifySource asks which database a source is.
func (c *clients) identifySource(ctx context.Context, e definition.Endpoint, plans bool) (pgclient.Identity, error) {
	server, err := c.server(e.Server)
	if err != nil {
		return pgclient.Identity{}, err
	}
	if plans {
		server = server.Planning()
	}
	return replication.SourceIdentity(ctx, pgclient.Endpoint{Server: server, Database: e.Database})
}

// readSource notices that the entry of the source now leads elsewhere.
func (r *replicationResource) readSource(ctx context.Context, private privateState, d definition.Definition) (s source, diags diag.Diagnostics) {
	s = storedSource(ctx, private)
	s.Changes = d.SourceChanges
	id, err := r.identifySource(ctx, d.Source, true)
	if err != nil { // the plan reports it
		return s, nil
	}
	now, _ := asIdentity(id, nil)
	if s.isFound(now) {
		diags.AddAttributeWarning(path.Root("source"), fmt.Sprintf("source.server %q now leads elsewhere", d.Source.Server), fmt.Sprintf(
			"servers.%s of the provider block led to %s at the last apply, and now leads to %s. The entry was changed, or the server behind it was replaced, restored or upgraded, "+
				"or the database %q was dropped and created again. The plan therefore has a new revision: sync runs that it triggers run again, and read tables whole unless they are known to be the same. If you do not want that, correct the entry.",
			d.Source.Server, sourceWords.of(s.identity), sourceWords.of(now), d.Source.Database))
	}
	return s, diags
}

// planSource says how often the source will have become another database once the plan is applied.
// The count is unknown where another entry cannot be asked.
func (r *replicationResource) planSource(ctx context.Context, s source, from, to definition.Endpoint) (changes int, known bool, diags diag.Diagnostics) {
	switch {
	case from.Database != to.Database: // which is another revision by itself
		return s.Changes, true, nil
	case from.Server == to.Server && s.Now == nil:
		return s.Changes, true, nil
	case from.Server == to.Server:
		return s.Changes + 1, true, nil
	}
	at := path.Root("source").AtName("server")
	v, why := r.compareSource(ctx, s, from, to, true)
	switch {
	case v == isSame:
		return s.Changes, true, nil
	case v == isOther:
		diags.AddAttributeWarning(at, fmt.Sprintf("%q does not lead to the same place as %q", to.Server, from.Server), fmt.Sprintf(
			"%q does not lead to the same place as %q: %s. The plan therefore has a new revision: sync runs that it triggers run again, and read tables whole unless they are known to be the same.", to.Server, from.Server, why))
		return s.Changes + 1, true, diags
	case s.remembered() != nil && !r.walk.isPlanning():
		// When it applies, Terraform plans once more and accepts only the same plan.
		diags.AddAttributeError(at, fmt.Sprintf("%q may not lead to the same place as %q", to.Server, from.Server), fmt.Sprintf(
			"%s. Nothing was changed. Make sure that both entries can be reached, and apply again.", capital(why)))
		return s.Changes, true, diags
	}
	diags.AddAttributeWarning(at, fmt.Sprintf("Could not check where %q leads", to.Server), fmt.Sprintf(
		"%s. The plan treats this as a change in place. The apply checks first: if the entry does not lead to the same place as %q, the revision changes, and sync runs that it triggers run again. Runs refuse a different cluster unless accept_source_identity names it.",
		capital(why), from.Server))
	return s.Changes, false, diags
}

// compareSource asks both entries, as far as they exist and answer. An entry that is known to lead
// elsewhere no longer stands for what was applied.
func (r *replicationResource) compareSource(ctx context.Context, s source, from, to definition.Endpoint, plans bool) (verdict, string) {
	ask := func(e definition.Endpoint) (*identity, error) {
		id, err := r.identifySource(ctx, e, plans)
		if err != nil {
			return nil, err
		}
		found, _ := asIdentity(id, nil)
		return &found, nil
	}
	after, err := ask(to)
	before, _ := ask(from)
	if s.Now != nil || before != nil && s.isElsewhere(*before) {
		before = nil
	}
	v, why := compareIdentities(s.remembered(), before, after, sourceWords)
	if err != nil {
		why = err.Error()
	}
	return v, why
}

// confirmSource refuses to go on if the source is a database other than planned, and returns what
// to remember of it.
func (r *replicationResource) confirmSource(ctx context.Context, s source, from, to definition.Endpoint) (after source, diags diag.Diagnostics) {
	after = source{identity: s.identity, Changes: s.Changes}
	if s.Now != nil {
		after.identity = *s.Now
	}
	id, err := r.identifySource(ctx, to, false)
	var none *noEntryError
	switch {
	case errors.As(err, &none):
		diags.AddAttributeError(path.Root("source").AtName("server"), "No such server", err.Error()+".")
		return after, diags
	case err != nil && from == to: // the run reports it
		return after, nil
	case err != nil:
		return source{Changes: s.Changes}, nil
	}
	now, _ := asIdentity(id, nil)
	if from == to && after.isElsewhere(now) {
		diags.AddAttributeError(path.Root("source").AtName("server"), fmt.Sprintf("source.server %q now leads elsewhere", to.Server), fmt.Sprintf(
			"It leads to %s, but this was planned for %s. Nothing was changed. Correct the entry, or plan again.", sourceWords.of(now), sourceWords.of(after.identity)))
	}
	after.identity = now
	return after, diags
}
