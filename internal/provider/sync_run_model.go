package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

type syncRunModel struct {
	Replication   types.String   `tfsdk:"replication"`
	Triggers      types.Map      `tfsdk:"triggers"`
	Verify        types.String   `tfsdk:"verify"`
	RunID         types.String   `tfsdk:"run_id"`
	Status        types.String   `tfsdk:"status"`
	StartedAt     types.String   `tfsdk:"started_at"`
	CompletedAt   types.String   `tfsdk:"completed_at"`
	RowsExtracted types.Int64    `tfsdk:"rows_extracted"`
	RowsLoaded    types.Int64    `tfsdk:"rows_loaded"`
	Tables        types.Map      `tfsdk:"tables"`
	MissingTables types.List     `tfsdk:"missing_tables"`
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
	SnapshotHeld   types.String `tfsdk:"snapshot_held"`
	NullKeys       types.Int64  `tfsdk:"null_keys"`
	Changes        types.List   `tfsdk:"changes"`
	Notes          types.List   `tfsdk:"notes"`
	Verification   types.String `tfsdk:"verification"`
	Error          types.String `tfsdk:"error"`
}

var reportType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"table_name": types.StringType, "status": types.StringType, "method": types.StringType,
	"rows_extracted": types.Int64Type, "rows_loaded": types.Int64Type, "bytes": types.Int64Type,
	"replication_key": types.StringType, "bookmark": types.StringType, "duration": types.StringType,
	"snapshot_held": types.StringType, "null_keys": types.Int64Type,
	"changes": types.ListType{ElemType: types.StringType}, "notes": types.ListType{ElemType: types.StringType},
	"verification": types.StringType, "error": types.StringType,
}}

// fromRun overwrites the model with the results of a run. Its texts are for people: the engine
// reads exact bookmarks from the catalog.
func (m *syncRunModel) fromRun(ctx context.Context, run syncrun.Run) diag.Diagnostics {
	m.RunID = textValue(run.ID)
	m.Status = textValue(run.Status)
	m.StartedAt = timeOrNull(run.StartedAt)
	m.CompletedAt = timeOrNull(run.CompletedAt)
	m.RowsExtracted = types.Int64Value(run.RowsExtracted())
	m.RowsLoaded = types.Int64Value(run.RowsLoaded())
	reports := map[string]reportModel{}
	for _, r := range run.Tables {
		reports[asValue(r.SourceTable)] = reportModel{
			TableName: textValue(r.TableName), Status: textValue(r.Status), Method: textValue(r.Method),
			RowsExtracted: types.Int64Value(r.RowsExtracted), RowsLoaded: types.Int64Value(r.RowsLoaded), Bytes: types.Int64Value(r.Bytes),
			ReplicationKey: textOrNull(asValue(r.ReplicationKey)), Bookmark: textOrNull(asValue(r.Bookmark)),
			Duration: types.StringValue(r.Duration.String()), SnapshotHeld: types.StringValue(r.Snapshot.String()), NullKeys: types.Int64Value(r.NullKeys),
			Changes: textsOrNull(r.Changes), Notes: textsOrNull(r.Notes), Verification: textOrNull(asValue(r.Verification)), Error: textOrNull(asValue(r.Error)),
		}
	}
	m.MissingTables = stringList(nil)
	var diags diag.Diagnostics
	m.Tables, diags = types.MapValueFrom(ctx, reportType, reports)
	return diags
}

// notes returns the notes of a run, by table.
func (m syncRunModel) notes(ctx context.Context) (map[string][]string, diag.Diagnostics) {
	if m.Tables.IsNull() || m.Tables.IsUnknown() {
		return nil, nil
	}
	var reports map[string]reportModel
	diags := m.Tables.ElementsAs(ctx, &reports, false)
	notes := map[string][]string{}
	for table, report := range reports {
		var texts []string
		diags.Append(report.Notes.ElementsAs(ctx, &texts, false)...)
		notes[table] = texts
	}
	return notes, diags
}

// textsOrNull is null for no texts.
func textsOrNull(texts []string) types.List {
	if len(texts) == 0 {
		return types.ListNull(types.StringType)
	}
	return textList(texts)
}

func timeOrNull(at time.Time) types.String {
	if at.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(at.UTC().Format(time.RFC3339Nano))
}
