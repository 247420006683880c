package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// syncRunResource runs a replication.
type syncRunResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = (*syncRunResource)(nil)
	_ resource.ResourceWithImportState = (*syncRunResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*syncRunResource)(nil)
)

func newSyncRunResource() resource.Resource { return &syncRunResource{} }

type syncRunModel struct {
	Replication   types.String   `tfsdk:"replication"`
	Triggers      types.Map      `tfsdk:"triggers"`
	RunID         types.String   `tfsdk:"run_id"`
	Status        types.String   `tfsdk:"status"`
	StartedAt     types.String   `tfsdk:"started_at"`
	CompletedAt   types.String   `tfsdk:"completed_at"`
	RowsExtracted types.Int64    `tfsdk:"rows_extracted"`
	RowsLoaded    types.Int64    `tfsdk:"rows_loaded"`
	Tables        types.Map      `tfsdk:"tables"`
	Timeouts      timeouts.Value `tfsdk:"timeouts"`
}

// reportModel is an element of tables.
type reportModel struct {
	TableName      types.String `tfsdk:"table_name"`
	Status         types.String `tfsdk:"status"`
	Method         types.String `tfsdk:"method"`
	RowsExtracted  types.Int64  `tfsdk:"rows_extracted"`
	RowsLoaded     types.Int64  `tfsdk:"rows_loaded"`
	Bytes          types.Int64  `tfsdk:"bytes"`
	ReplicationKey types.String `tfsdk:"replication_key"`
	Bookmark       types.String `tfsdk:"bookmark"`
	Duration       types.String `tfsdk:"duration"`
	Changes        types.List   `tfsdk:"changes"`
	Error          types.String `tfsdk:"error"`
}

var reportType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"table_name": types.StringType, "status": types.StringType, "method": types.StringType,
	"rows_extracted": types.Int64Type, "rows_loaded": types.Int64Type, "bytes": types.Int64Type,
	"replication_key": types.StringType, "bookmark": types.StringType, "duration": types.StringType,
	"changes": types.ListType{ElemType: types.StringType}, "error": types.StringType,
}}

// fromRun overwrites what a run says.
func (m *syncRunModel) fromRun(ctx context.Context, run replication.Run) diag.Diagnostics {
	m.RunID = types.StringValue(run.ID)
	m.Status = types.StringValue(run.Status)
	m.StartedAt = timeOrNull(run.StartedAt)
	m.CompletedAt = timeOrNull(run.CompletedAt)
	m.RowsExtracted = types.Int64Value(run.RowsExtracted())
	m.RowsLoaded = types.Int64Value(run.RowsLoaded())
	var diags, more diag.Diagnostics
	reports := map[string]reportModel{}
	for _, r := range run.Tables {
		changes := types.ListNull(types.StringType)
		if len(r.Changes) > 0 {
			changes, more = types.ListValueFrom(ctx, types.StringType, r.Changes)
			diags.Append(more...)
		}
		reports[r.SourceTable] = reportModel{
			TableName: types.StringValue(r.TableName), Status: types.StringValue(r.Status), Method: types.StringValue(r.Method),
			RowsExtracted: types.Int64Value(r.RowsExtracted), RowsLoaded: types.Int64Value(r.RowsLoaded), Bytes: types.Int64Value(r.Bytes),
			ReplicationKey: textOrNull(r.ReplicationKey), Bookmark: textOrNull(r.Bookmark),
			Duration: types.StringValue(r.Duration.String()), Changes: changes, Error: textOrNull(r.Error),
		}
	}
	m.Tables, more = types.MapValueFrom(ctx, reportType, reports)
	diags.Append(more...)
	return diags
}

func timeOrNull(at time.Time) types.String {
	if at.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(at.UTC().Format(time.RFC3339Nano))
}

// Metadata names the resource.
func (*syncRunResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_sync_run"
}

// Schema describes the resource.
func (*syncRunResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true}
	}
	count := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{MarkdownDescription: description, Computed: true}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Runs a replication: structure sync, then extraction and load of each table. " +
			"It runs when it is created and whenever `triggers` change, in place. A run that failed or was interrupted keeps what it " +
			"committed and goes on from there in the next apply. Destroying it removes nothing.",
		Attributes: map[string]schema.Attribute{
			"replication": schema.StringAttribute{
				MarkdownDescription: "The `id` of the `stitch_replication` to run.",
				Required:            true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(ifAnotherReplication,
					"Another replication is another run.", "Another replication is another run.")},
			},
			"triggers": schema.MapAttribute{
				MarkdownDescription: "Values of your choice; when one changes, the replication runs again. Give it the `revision` of the replication, " +
					"and for instance `plantimestamp()` to run in each apply.",
				Optional:    true,
				ElementType: types.StringType,
			},
			"run_id":         computed("Identifier of the run in the catalog, where it is `_stitch.run.id`."),
			"status":         computed("`succeeded`, `failed` or `interrupted`; `running` while another process runs it."),
			"started_at":     computed("When the run started, by the destination's clock (RFC 3339)."),
			"completed_at":   computed("When the run ended."),
			"rows_extracted": count("Rows read from the source, all tables together."),
			"rows_loaded":    count("Rows inserted or changed in the destination, all tables together."),
			"tables": schema.MapNestedAttribute{
				MarkdownDescription: "The loading report: what the run did with each table.",
				Computed:            true,
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"table_name":      computed("Name of the table in the destination."),
					"status":          computed("`succeeded`, `failed` or `interrupted`."),
					"method":          computed("Replication method."),
					"rows_extracted":  count("Rows read from the source."),
					"rows_loaded":     count("Rows inserted or changed in the destination. Rows that did not change are not written."),
					"bytes":           count("Bytes of row data that were copied."),
					"replication_key": computed("Replication key, for `INCREMENTAL`."),
					"bookmark":        computed("Greatest replication key that was loaded, as PostgreSQL writes it."),
					"duration":        computed("How long the table took."),
					"changes": schema.ListAttribute{
						MarkdownDescription: "What has changed in the structure of the table since the run before.",
						Computed:            true,
						ElementType:         types.StringType,
					},
					"error": computed("Why the table was not replicated."),
				}},
			},
			"timeouts": timeouts.Attributes(ctx, timeouts.Opts{
				Create: true, Update: true,
				CreateDescription: "How long the first run may take, such as `\"2h\"`. Without it there is no limit.",
				UpdateDescription: "How long a later run may take. Without it there is no limit.",
			}),
		},
	}
}

// ifAnotherReplication tells a replication apart from the same one that another
// server entry leads to.
func ifAnotherReplication(_ context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	before, err := splitReplicationID(req.StateValue.ValueString())
	after, err2 := splitReplicationID(req.PlanValue.ValueString())
	resp.RequiresReplace = err != nil || err2 != nil || !slices.Equal(before[1:], after[1:])
}

// ModifyPlan plans a run if triggers changed or the one before did not succeed.
// Whatever else changed leaves the report of that one as it is.
func (*syncRunResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() {
		return
	}
	var plan, state syncRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	report := syncRunModel{
		RunID: types.StringUnknown(), Status: types.StringUnknown(),
		StartedAt: types.StringUnknown(), CompletedAt: types.StringUnknown(),
		RowsExtracted: types.Int64Unknown(), RowsLoaded: types.Int64Unknown(),
		Tables: types.MapUnknown(reportType),
	}
	if state.Status.ValueString() == replication.Succeeded && plan.Triggers.Equal(state.Triggers) {
		report = state
	}
	report.Replication, report.Triggers, report.Timeouts = plan.Replication, plan.Triggers, plan.Timeouts
	resp.Diagnostics.Append(resp.Plan.Set(ctx, report)...)
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
	// On failure there is no state: a tainted run would be replaced, which says
	// nothing that a new one does not.
	if r.run(ctx, &plan, limit, &resp.Diagnostics) {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	}
}

// Update runs the replication again, if the plan says so.
func (r *syncRunResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan syncRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	limit, diags := plan.Timeouts.Update(ctx, 0)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	// On failure the state stays as it was, so that the next plan proposes the
	// run again: its triggers still differ.
	if !plan.RunID.IsUnknown() || r.run(ctx, &plan, limit, &resp.Diagnostics) {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	}
}

// run runs the replication of the plan and completes the plan. It returns
// whether that is worth keeping.
func (r *syncRunResource) run(ctx context.Context, plan *syncRunModel, limit time.Duration, diags *diag.Diagnostics) bool {
	destination, schemaName, err := r.find(plan.Replication.ValueString(), r.server)
	if err != nil {
		diags.Append(diagnose("Cannot run replication "+plan.Replication.ValueString(), err))
		return false
	}
	limited := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	run, err := replication.Runner{Server: r.server, Progress: tflog.Info}.Run(limited, destination, schemaName)
	switch {
	case ctx.Err() == nil && limited.Err() != nil:
		diags.AddError("Sync run of "+schemaName+" did not end in time",
			fmt.Sprintf("It was stopped after %s, as timeouts says. The tables that were finished keep what was loaded; the next apply goes on from there.", limit))
		return false
	case err != nil:
		diags.Append(diagnoseRun(schemaName, err)...)
		return false
	case run.Status == replication.Interrupted:
		diags.AddWarning("Sync run of "+schemaName+" was interrupted",
			"What was committed stays, and the next apply goes on from there.")
	}
	diags.Append(warnOfChanges(run)...)
	diags.Append(plan.fromRun(ctx, run)...)
	return true
}

// diagnoseRun names each table that failed.
func diagnoseRun(schemaName string, err error) (diags diag.Diagnostics) {
	var failed *replication.TablesError
	if !errors.As(err, &failed) {
		diags.Append(diagnose("Cannot run replication "+schemaName, err))
		return diags
	}
	for _, report := range failed.Reports {
		diags.AddError("Cannot replicate table "+report.SourceTable, report.Error+
			"\n\nThe tables that did not fail are replicated. Apply again to go on with this one.")
	}
	return diags
}

// warnOfChanges says which tables look different in the destination now.
func warnOfChanges(run replication.Run) (diags diag.Diagnostics) {
	for _, report := range run.Tables {
		if len(report.Changes) > 0 {
			diags.AddWarning("The structure of table "+report.SourceTable+" has changed", strings.Join(report.Changes, "\n"))
		}
	}
	return diags
}

// find resolves the id of a replication.
func (*syncRunResource) find(id string, server func(string) (*postgres.Server, error)) (postgres.Endpoint, string, error) {
	parts, err := splitReplicationID(id)
	if err != nil {
		return postgres.Endpoint{}, "", err
	}
	s, err := server(parts[0])
	return postgres.Endpoint{Server: s, Database: parts[1]}, parts[2], err
}

// Read reads what the catalog recorded of the run.
func (r *syncRunResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state syncRunModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	id := state.Replication.ValueString()
	destination, schemaName, err := r.find(id, r.serverToRead)
	var run replication.Run
	if err == nil {
		run, err = replication.LastRun(ctx, destination, schemaName, state.RunID.ValueString())
	}
	switch {
	case replication.IsGone(err):
		resp.State.RemoveResource(ctx) // so that the next apply runs again
		return
	case err != nil && state.RunID.IsNull():
		resp.Diagnostics.Append(diagnose("Cannot import the sync run of "+id, err))
		return
	case err != nil && (destination.Server == nil || postgres.IsUnreachable(err) || replication.IsAnothers(err)):
		resp.Diagnostics.Append(unchecked("Sync run of "+id+" was not read", err,
			"Its state is kept as it was."))
		return
	case err != nil:
		resp.Diagnostics.Append(diagnose("Cannot read the sync run of "+id, err))
		return
	}
	resp.Diagnostics.Append(state.fromRun(ctx, run)...)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
	}
}

// Delete removes nothing: what was loaded stays.
func (*syncRunResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

// ImportState takes the latest run of the replication with the given id.
func (*syncRunResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	if _, err := splitReplicationID(req.ID); err != nil {
		resp.Diagnostics.AddError("Cannot read the import id", err.Error())
		return
	}
	resource.ImportStatePassthroughID(ctx, path.Root("replication"), req, resp)
}
