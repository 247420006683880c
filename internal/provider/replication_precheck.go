package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/report"
)

// A plan reports what its apply would meet: as an error where only another configuration helps, as
// a warning where the same apply may still change it.

func isMissingDatabase(err error) bool {
	return pgclient.IsUnreachable(err) && pgclient.Code(err) == pgclient.InvalidCatalogName
}

func missingDatabase(attribute string, e definition.Endpoint, follows string) diag.Diagnostic {
	return diag.NewAttributeWarningDiagnostic(path.Root(attribute).AtName("database"),
		fmt.Sprintf("The %s database %q does not exist", attribute, e.Database),
		fmt.Sprintf("The database does not exist on server %q. Unless this apply creates it first, %s.", e.Server, follows))
}

// checkDestination checks whether the definition can be stored. It returns the cluster that runs
// have read, or "" if there is none.
func (r *replicationResource) checkDestination(ctx context.Context, plan replicationModel, d, before definition.Definition) (system string, diags diag.Diagnostics) {
	isNew := before.SchemaName == ""
	var found replication.DestinationPrecheck
	destination, err := plan.endpoint(ctx, r.serverToRead)
	if err == nil {
		source, _ := r.identifySource(ctx, d.Source, true) // empty while it cannot be read
		found, err = replication.PrecheckDestination(ctx, destination, d, source)
	}
	switch {
	case err != nil && !isNew: // Read has reported it
		return "", nil
	case isMissingDatabase(err):
		diags.Append(missingDatabase("destination", d.Destination, "storing the replication fails"))
		return "", diags
	case err != nil:
		diags.Append(unchecked("The destination of replication "+d.Name+" was not checked", err, "Storing the replication checks it."))
		return "", diags
	}
	if isNew && r.isMoved(plan) {
		diags.Append(copyInWay(d, found)...)
	}
	if isNew && !r.replaces(plan) {
		diags.Append(schemaInWay(d, found, plan.Adopt.ValueBool())...)
	}
	if len(found.AbsentReaders) > 0 {
		diags.AddAttributeWarning(path.Root("readers"), "Readers do not exist", fmt.Sprintf(
			"The destination server does not have these roles: %s. Unless this apply creates them first, storing the replication fails.",
			strings.Join(found.AbsentReaders, ", ")))
	}
	return found.SourceSystem, diags
}

// copyInWay refuses to move a replication to a place where one is already stored, as a copy of its
// destination would have one. Otherwise the apply would delete the moved replication before it
// found the other one.
func copyInWay(d definition.Definition, found replication.DestinationPrecheck) (diags diag.Diagnostics) {
	if found.Stored && len(found.Refusals) > 0 {
		diags.AddAttributeError(path.Root("destination").AtName("server"), fmt.Sprintf("%q already holds a replication into %s", d.Destination.Server, d.SchemaName), fmt.Sprintf(
			"This replication would be deleted from its current place, and cannot be created where %q leads: there, the schema belongs to the replication %q, as it would in a copy of the destination. "+
				"To continue with that replication, make Terraform forget this one with `terraform state rm`, and import %s. To start over, choose another schema_name.",
			d.Destination.Server, found.Name, replicationID(d)))
	}
	return diags
}

// schemaInWay says what prevents a new replication into its schema.
func schemaInWay(d definition.Definition, found replication.DestinationPrecheck, adopt bool) (diags diag.Diagnostics) {
	at := path.Root("schema_name")
	switch {
	case found.Stored && len(found.Refusals) > 0:
		diags.AddAttributeWarning(at, "Schema "+d.SchemaName+" is taken", fmt.Sprintf(
			"It already belongs to the replication %q. Unless this apply deletes that replication first, storing this one fails: choose another schema_name, or import that replication.", found.Name))
	case !found.Stored && found.PerhapsLeft && !adopt:
		diags.AddAttributeWarning(at, "Schema "+d.SchemaName+" may not be usable", capital(found.TablesInWay.Error())+". Unless the apply can determine that, storing the replication fails.")
	case !found.Stored && found.TablesInWay != nil && !adopt:
		diags.AddAttributeError(at, "Schema "+d.SchemaName+" is not empty", capital(found.TablesInWay.Error())+".")
	}
	return diags
}

// precheckRun reports what would make a run fail: tables that the login may not read, and a cluster
// other than the one that earlier runs read.
func (r *replicationResource) precheckRun(ctx context.Context, d, before definition.Definition, system string) (diags diag.Diagnostics) {
	server, err := r.serverToRead(d.Source.Server)
	if err != nil {
		return nil
	}
	found, err := replication.PrecheckSource(ctx, pgclient.Endpoint{Server: server, Database: d.Source.Database}, d)
	if err != nil {
		return nil // checkSource has reported it
	}
	if len(found.Unreadable) > 0 {
		var lacked report.Grouped
		for _, right := range slices.Sorted(maps.Keys(found.Unreadable)) {
			for _, table := range found.Unreadable[right] {
				lacked.Add(table, right)
			}
		}
		diags.AddAttributeWarning(path.Root("tables"), "The login of the source cannot read all tables",
			fmt.Sprintf("The login of server %q lacks:\n%s\n\nUnless this apply grants these rights first, as stitch_source_grants does, the run fails for these tables.", d.Source.Server, lacked.Lines()))
	}
	if err := d.RefuseCluster(found.System, system); err != nil {
		const summary = "The source is in a different cluster than before"
		text := capital(err.Error()) + ". Until then, runs are refused."
		isSame := d.Source == before.Source || d.Source.Database == before.Source.Database && d.SourceChanges == before.SourceChanges
		if isSame && d.AcceptSourceIdentity == before.AcceptSourceIdentity {
			diags.AddAttributeWarning(path.Root("source"), summary, text)
		} else {
			diags.AddAttributeError(path.Root("source"), summary, text)
		}
	}
	return diags
}

// objectOf identifies a replication, as far as its server is known.
func (r *replicationResource) objectOf(model replicationModel) (object, bool) {
	destination, err := model.endpoint(context.Background(), r.serverToRead)
	if err != nil || model.SchemaName.IsUnknown() || model.SchemaName.IsNull() {
		return object{}, false
	}
	return replicationObject(destination, model.SchemaName.ValueString()), true
}

// warnOfRemoval says who loses access, and which tables go, when the plan removes a replication or
// some of its readers.
func (r *replicationResource) warnOfRemoval(ctx context.Context, req resource.ModifyPlanRequest) (diags diag.Diagnostics) {
	var state, plan replicationModel
	isUpdate := !req.State.Raw.IsNull() && !req.Plan.Raw.IsNull()
	if isUpdate && !req.State.Get(ctx, &state).HasError() && !req.Plan.Get(ctx, &plan).HasError() && !plan.Readers.IsUnknown() {
		now := plan.readers()
		lost := slices.DeleteFunc(state.readers(), func(name string) bool { return slices.Contains(now, name) })
		diags.Append(losesAccess(state, lost)...)
	}
	model, is := removed(ctx, req, r.claims, r.objectOf)
	if !is || isUpdate && state.isAt(plan) {
		return diags
	}
	if req.Plan.Raw.IsNull() {
		diags.Append(losesAccess(model, model.readers())...)
	}
	diags.Append(r.takesTables(ctx, model)...)
	return diags
}

// isAt reports whether two replications share one place, unless their entries lead to different
// places.
func (m replicationModel) isAt(other replicationModel) bool {
	var a, b endpointModel
	m.Destination.As(context.Background(), &a, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})
	other.Destination.As(context.Background(), &b, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})
	return a.Database.Equal(b.Database) && (m.SchemaName.Equal(other.SchemaName) || other.SchemaName.IsUnknown())
}

// takesTables says which tables go with a replication.
func (r *replicationResource) takesTables(ctx context.Context, model replicationModel) (diags diag.Diagnostics) {
	destination, err := model.endpoint(ctx, r.serverToRead)
	if err != nil || !model.ForceDestroy.ValueBool() {
		return nil
	}
	schemaName := model.SchemaName.ValueString()
	if losses, err := postgres.Losses(ctx, destination.Server, destination.Database, schemaName); err == nil {
		diags.Append(takesTables(replicationObject(destination, schemaName), losses, true)...)
	}
	return diags
}

func losesAccess(m replicationModel, readers []string) (diags diag.Diagnostics) {
	if len(readers) > 0 {
		diags.AddWarning("Readers lose access to schema "+m.SchemaName.ValueString(),
			fmt.Sprintf("The plan revokes from %[2]s what replication %[1]q granted.", m.Name.ValueString(), strings.Join(readers, ", ")))
	}
	return diags
}
