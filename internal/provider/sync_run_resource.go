package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/report"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// syncRunResource runs a replication.
type syncRunResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = (*syncRunResource)(nil)
	_ resource.ResourceWithImportState = (*syncRunResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*syncRunResource)(nil)
)

// statusUnknown is the status of a run whose catalog cannot be read.
const statusUnknown = "unknown"

func newSyncRunResource() resource.Resource { return &syncRunResource{} }

// Metadata names the resource.
func (*syncRunResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_sync_run"
}

// ifAnotherReplication distinguishes another replication from the same one by another server entry.
func ifAnotherReplication(_ context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	before, err := splitReplicationID(req.StateValue.ValueString())
	after, err2 := splitReplicationID(req.PlanValue.ValueString())
	if req.PlanValue.IsUnknown() { // the replication itself is to be replaced, and keeps its id
		return
	}
	resp.RequiresReplace = err != nil || err2 != nil || !slices.Equal(before[1:], after[1:])
}

// ModifyPlan plans a run if triggers changed, if verify changed since the previous run, if that run
// did not succeed, or if loaded tables are missing. Any other change leaves the report of that run
// as it is.
func (r *syncRunResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan, state syncRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if parts, err := splitReplicationID(plan.Replication.ValueString()); err == nil {
		resp.Diagnostics.Append(r.checkServer(path.Root("replication"), types.StringValue(parts[0]))...)
	}
	if req.State.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	report := syncRunModel{
		RunID: types.StringUnknown(), Status: types.StringUnknown(),
		StartedAt: types.StringUnknown(), CompletedAt: types.StringUnknown(),
		RowsExtracted: types.Int64Unknown(), RowsLoaded: types.Int64Unknown(),
		Tables: types.MapUnknown(reportType), MissingTables: stringList(nil),
	}
	verify := !plan.Verify.Equal(state.Verify) && plan.Verify.ValueString() != tablesync.VerifyNone
	if !r.isRenewed(plan) && state.Status.ValueString() == syncrun.Succeeded && len(state.MissingTables.Elements()) == 0 && plan.Triggers.Equal(state.Triggers) && !verify {
		report = state
	}
	report.Replication, report.Triggers, report.Verify, report.Timeouts = plan.Replication, plan.Triggers, plan.Verify, plan.Timeouts
	resp.Diagnostics.Append(resp.Plan.Set(ctx, report)...)
}

// isRenewed reports whether this apply creates, or has created, the replication: the replication
// then does not know what was loaded before.
func (r *syncRunResource) isRenewed(plan syncRunModel) bool {
	if plan.Replication.IsUnknown() {
		return true
	}
	destination, schemaName, err := r.find(plan.Replication.ValueString(), r.server)
	return err == nil && r.claims.isCreated(replicationObject(destination, schemaName))
}

// Create runs the replication.
func (r *syncRunResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan syncRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	limit, diags := plan.Timeouts.Create(ctx, 0)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	r.run(ctx, &plan, nil, limit, &resp.Diagnostics)
	// A failed create leaves no state: Terraform would replace a tainted run, which says no more
	// than a new run does.
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	}
}

// Update runs the replication again, if the plan says so.
func (r *syncRunResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state syncRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	limit, diags := plan.Timeouts.Update(ctx, 0)
	resp.Diagnostics.Append(diags...)
	notes, diags := state.notes(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	if plan.RunID.IsUnknown() {
		r.run(ctx, &plan, notes, limit, &resp.Diagnostics)
	}
	// The next plan proposes a failed run that is stored again. If none is stored, the state stays
	// as it was: what the configuration asks for still differs.
	if !plan.RunID.IsUnknown() {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	}
}

// run runs the replication of the plan, and completes the plan unless no run could be recorded.
// before are the notes of the previous run, by table.
func (r *syncRunResource) run(ctx context.Context, plan *syncRunModel, before map[string][]string, limit time.Duration, diags *diag.Diagnostics) {
	destination, schemaName, err := r.find(plan.Replication.ValueString(), r.server)
	if err != nil {
		diags.Append(diagnose("Cannot run replication "+plan.Replication.ValueString(), err))
		return
	}
	limited := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	runner := syncrun.Runner{Server: r.server, Logger: newLogger(), Verify: plan.Verify.ValueString()}
	run, err := runner.Run(limited, destination, schemaName)
	// Also if it failed: changes are reported only once.
	for _, m := range report.Warnings(schemaName, run, func(table, note string) bool { return slices.Contains(before[asValue(table)], asValue(note)) }) {
		diags.AddWarning(m.Summary, m.Detail)
	}
	soFar := report.Rows(run.RowsExtracted(), run.RowsLoaded()) + ". Committed rows stay in the destination, and the next apply continues from there."
	switch {
	case ctx.Err() == nil && limited.Err() != nil:
		diags.AddError("Sync run of "+schemaName+" did not end in time",
			fmt.Sprintf("The provider stopped it after %s, the limit set in timeouts. Until then, %s", limit, soFar)+report.Where(destination, run))
	case err != nil:
		for _, m := range report.Errors(schemaName, err, report.Where(destination, run)) {
			diags.AddError(m.Summary, m.Detail)
		}
	case run.Status == syncrun.Interrupted:
		diags.AddWarning("Sync run of "+schemaName+" was interrupted", "Until then, "+soFar)
	}
	if run.ID != "" {
		diags.Append(plan.fromRun(ctx, run)...)
	}
}

// find resolves the id of a replication.
func (*syncRunResource) find(id string, server func(string) (*pgclient.Server, error)) (pgclient.Endpoint, string, error) {
	parts, err := splitReplicationID(id)
	if err != nil {
		return pgclient.Endpoint{}, "", err
	}
	s, err := server(parts[0])
	return pgclient.Endpoint{Server: s, Database: parts[1]}, parts[2], err
}

// Read reads the latest run in the catalog, whether this resource or another client of the
// replication ran it.
func (r *syncRunResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state syncRunModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	id := state.Replication.ValueString()
	destination, schemaName, err := r.find(id, r.serverToRead)
	var none *noEntryError
	if errors.As(err, &none) && !state.RunID.IsNull() { // the plan reports it, unless the resource then refers to another replication
		return
	}
	var run syncrun.Run
	if err == nil {
		run, err = syncrun.LastRun(ctx, destination, schemaName)
	}
	switch {
	case replication.IsNotFound(err):
		resp.State.RemoveResource(ctx) // so that the next apply runs again
		return
	case err != nil:
		unread, drift := unreadCatalog("sync run", id, state.RunID.IsNull(), destination, err)
		resp.Diagnostics.Append(unread)
		if !drift {
			return
		}
		state.Status = types.StringValue(statusUnknown)
	default:
		resp.Diagnostics.Append(state.fromRun(ctx, run)...)
		state.MissingTables = stringList(run.Missing)
		if state.Verify.IsNull() { // imported
			state.Verify = types.StringValue(tablesync.VerifyNone)
		}
	}
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
	}
}

// Delete removes nothing: the loaded tables stay.
func (*syncRunResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

// ImportState takes the latest run of the replication with the given id.
func (*syncRunResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if _, err := splitReplicationID(req.ID); err != nil {
		resp.Diagnostics.AddError("Cannot read the import id", err.Error())
		return
	}
	resource.ImportStatePassthroughID(ctx, path.Root("replication"), req, resp)
}
