package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/report"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

// atTables attaches each problem to the line of its table: Terraform does not know the positions of
// the attributes inside.
func atTables(problems []definition.Problem) (diags diag.Diagnostics) {
	for _, p := range problems {
		message := p.Message + "."
		if p.Attribute != "" {
			message = p.Attribute + ": " + message
		}
		diags.AddAttributeError(path.Root("tables").AtMapKey(p.Table), "Cannot replicate table "+p.Table, message)
	}
	return diags
}

// ModifyPlan computes what follows from the configuration, and checks it against source and
// destination if they can be read now.
func (r *replicationResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	resp.Diagnostics.Append(r.warnOfRemoval(ctx, req)...)
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan replicationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(r.checkServers(ctx, plan)...)
	schemaName, diags := plannedSchemaName(ctx, req, plan)
	resp.Diagnostics.Append(diags...)
	plan.SchemaName = schemaName
	plan.ID, plan.Revision = types.StringUnknown(), types.StringUnknown()
	complete := known(ctx, plan.SchemaName, plan.Source, plan.Destination, plan.Tables, plan.IncludeSchemaInTableNames, plan.AcceptSourceIdentity)
	if complete {
		d, diags := plan.toDefinition(ctx)
		resp.Diagnostics.Append(diags...)
		before, diags := definitionBefore(ctx, req.State)
		resp.Diagnostics.Append(diags...)
		settled := true
		if !req.State.Raw.IsNull() {
			source := storedSource(ctx, req.Private)
			before.SourceChanges = source.Changes
			source.Changes, settled, diags = r.planSource(ctx, source, before.Source, d.Source)
			resp.Diagnostics.Append(diags...)
			resp.Diagnostics.Append(source.store(ctx, resp.Private)...)
			d.SourceChanges = source.Changes
		}
		switch {
		case req.State.Raw.IsNull() && r.isMoved(plan):
		case req.State.Raw.IsNull() && r.replaces(plan):
			resp.Diagnostics.Append(r.takesTables(ctx, plan)...)
		default:
			plan.ID = types.StringValue(replicationID(d))
			if settled {
				plan.Revision = types.StringValue(d.Revision())
			}
		}
		if plan.ValidateAtPlan.ValueBool() && !resp.Diagnostics.HasError() {
			resp.Diagnostics.Append(r.check(ctx, plan, d, before)...)
		}
	}
	for name, value := range map[string]attr.Value{"schema_name": plan.SchemaName, "id": plan.ID, "revision": plan.Revision} {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(name), value)...)
	}
}

// replaces reports whether a plan without a state replaces a replication that the state has. The
// bookmarks of that replication go, so whatever refers to it must run again.
func (r *replicationResource) replaces(plan replicationModel) bool {
	o, ok := r.objectOf(plan)
	return ok && r.claims.isInState(o)
}

// isMoved does the same for a replication that is elsewhere.
func (r *replicationResource) isMoved(plan replicationModel) bool {
	o, ok := r.objectOf(plan)
	return ok && r.claims.isMoved(o)
}

// check checks the definition against what source and destination hold now; before is the
// definition of the state.
func (r *replicationResource) check(ctx context.Context, plan replicationModel, d, before definition.Definition) diag.Diagnostics {
	diags := r.checkSource(ctx, d, before)
	system, more := r.checkDestination(ctx, plan, d, before)
	diags.Append(more...)
	diags.Append(r.precheckRun(ctx, d, before, system)...)
	diags.Append(r.warnOfSnapshots(ctx, plan, d)...)
	return diags
}

// warnOfSnapshots names the tables that take longer to read than a snapshot may be held. It leaves
// what it cannot read to the run.
func (r *replicationResource) warnOfSnapshots(ctx context.Context, plan replicationModel, d definition.Definition) (diags diag.Diagnostics) {
	if d.MaxSnapshotMinutes == 0 {
		return nil
	}
	source, err := r.serverToRead(d.Source.Server)
	if err != nil {
		return nil
	}
	destination, err := plan.endpoint(ctx, r.serverToRead)
	if err != nil {
		return nil
	}
	long, err := syncrun.LongSnapshots(ctx, pgclient.Endpoint{Server: source, Database: d.Source.Database}, destination, d)
	if err == nil && len(long) > 0 {
		diags.AddAttributeWarning(path.Root("max_snapshot_minutes"), "Tables may take longer to read than max_snapshot_minutes allows",
			fmt.Sprintf("max_snapshot_minutes is %d. Estimates from the current size of the tables and from the last run:\n- %s\n\n"+
				"FULL_TABLE reads a table in one snapshot, and fails when the snapshot becomes too old. Raise max_snapshot_minutes, or replicate the table with INCREMENTAL and an indexed replication_key.",
				d.MaxSnapshotMinutes, strings.Join(long, "\n- ")))
	}
	return diags
}

// checkServers checks the names of both servers.
func (r *replicationResource) checkServers(ctx context.Context, plan replicationModel) (diags diag.Diagnostics) {
	for attribute, object := range map[string]types.Object{"source": plan.Source, "destination": plan.Destination} {
		if object.IsUnknown() {
			continue
		}
		var endpoint endpointModel
		diags.Append(object.As(ctx, &endpoint, basetypes.ObjectAsOptions{})...)
		diags.Append(r.checkServer(path.Root(attribute).AtName("server"), endpoint.Server)...)
	}
	return diags
}

// plannedSchemaName is the configured name, or the name with which the replication was created, or
// the one that follows from the replication's name.
func plannedSchemaName(ctx context.Context, req resource.ModifyPlanRequest, plan replicationModel) (types.String, diag.Diagnostics) {
	var configured, before types.String
	if diags := req.Config.GetAttribute(ctx, path.Root("schema_name"), &configured); diags.HasError() || !configured.IsNull() {
		return configured, diags
	}
	if !req.State.Raw.IsNull() {
		diags := req.State.GetAttribute(ctx, path.Root("schema_name"), &before)
		return before, diags
	}
	if plan.Name.IsUnknown() {
		return types.StringUnknown(), nil
	}
	return derivedSchemaName(plan.Name.ValueString())
}

func derivedSchemaName(name string) (types.String, diag.Diagnostics) {
	var diags diag.Diagnostics
	derived, err := definition.SchemaNameOf(name)
	if err != nil {
		diags.AddAttributeError(path.Root("name"), "Unusable schema name", err.Error()+".")
		return types.StringUnknown(), diags
	}
	return types.StringValue(derived), nil
}

// definitionBefore returns the definition of the state, an empty one if there is none.
func definitionBefore(ctx context.Context, state tfsdk.State) (definition.Definition, diag.Diagnostics) {
	if state.Raw.IsNull() {
		return definition.Definition{}, nil
	}
	var before replicationModel
	if diags := state.Get(ctx, &before); diags.HasError() {
		return definition.Definition{}, diags
	}
	return before.toDefinition(ctx)
}

// checkSource checks the definition against the source. If the source cannot be read yet, or has
// lost what was replicated before, the run decides. Remarks that require no action are made only
// about a new or changed definition.
func (r *replicationResource) checkSource(ctx context.Context, d, before definition.Definition) (diags diag.Diagnostics) {
	server, err := r.serverToRead(d.Source.Server)
	var problems []definition.Problem
	var keepVersions []string
	if err == nil {
		source := pgclient.Endpoint{Server: server, Database: d.Source.Database}
		problems, keepVersions, err = replication.CheckSource(ctx, source, d)
	}
	switch {
	case isMissingDatabase(err):
		diags.Append(missingDatabase("source", d.Source, "the run fails"))
	case err != nil:
		diags.Append(unchecked("Tables of replication "+d.Name+" were not checked against the source", err,
			"The run checks them."))
	}
	regressions, mistakes := d.Regressions(problems, before)
	for i, p := range mistakes {
		if p.Attribute == "" {
			mistakes[i].Message += ". To leave this check to the run, set validate_at_plan = false"
		}
	}
	diags.Append(atTables(mistakes)...)
	diags.Append(warnOfRegressions(regressions)...)
	if len(keepVersions) > 0 && d.Revision() != before.Revision() {
		diags.AddAttributeWarning(path.Root("tables"), "INCREMENTAL keeps every version of rows that change",
			fmt.Sprintf("Rows of %s have no key that identifies them: a row that changes is loaded in addition to its earlier versions. "+
				"Set view_key_properties for a view, give a table a primary key, or use FULL_TABLE.", report.FirstFive(keepVersions)))
	}
	return diags
}

// warnOfRegressions names what the source no longer has as it was replicated before.
func warnOfRegressions(problems []definition.Problem) (diags diag.Diagnostics) {
	if len(problems) == 0 {
		return nil
	}
	var all report.Grouped
	for _, p := range problems {
		all.Add(p.Table, p.Message)
	}
	at := path.Root("tables")
	if len(all.Tables()) == 1 {
		at = at.AtMapKey(problems[0].Table)
	}
	diags.AddAttributeWarning(at, "Tables have changed at the source", all.Lines()+
		"\n\nThey were replicated before. The next run fails for these tables, and replicates the others. "+
		"To stop replicating them, remove them from tables: the loaded rows stay.")
	return diags
}
