package provider

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
)

type replicationModel struct {
	ID                        types.String `tfsdk:"id"`
	Name                      types.String `tfsdk:"name"`
	SchemaName                types.String `tfsdk:"schema_name"`
	Source                    types.Object `tfsdk:"source"`
	Destination               types.Object `tfsdk:"destination"`
	Tables                    types.Map    `tfsdk:"tables"`
	Readers                   types.Set    `tfsdk:"readers"`
	ReadersMissing            types.List   `tfsdk:"readers_missing"`
	IncludeSchemaInTableNames types.Bool   `tfsdk:"include_schema_in_table_names"`
	LateCommitWindow          types.String `tfsdk:"late_commit_window"`
	MaxSnapshotMinutes        types.Int64  `tfsdk:"max_snapshot_minutes"`
	AcceptSourceIdentity      types.String `tfsdk:"accept_source_identity"`
	Adopt                     types.Bool   `tfsdk:"adopt"`
	ForceDestroy              types.Bool   `tfsdk:"force_destroy"`
	ValidateAtPlan            types.Bool   `tfsdk:"validate_at_plan"`
	Revision                  types.String `tfsdk:"revision"`
}

// endpointModel is a source or a destination.
type endpointModel struct {
	Server   types.String `tfsdk:"server"`
	Database types.String `tfsdk:"database"`
}

// selectionModel is an element of tables.
type selectionModel struct {
	ReplicationMethod types.String `tfsdk:"replication_method"`
	ReplicationKey    types.String `tfsdk:"replication_key"`
	Columns           types.Set    `tfsdk:"columns"`
	ExcludeColumns    types.Set    `tfsdk:"exclude_columns"`
	TableName         types.String `tfsdk:"table_name"`
	ViewKeyProperties types.List   `tfsdk:"view_key_properties"`
}

var (
	endpointType  = types.ObjectType{AttrTypes: map[string]attr.Type{"server": types.StringType, "database": types.StringType}}
	selectionType = types.ObjectType{AttrTypes: map[string]attr.Type{
		"replication_method":  types.StringType,
		"replication_key":     types.StringType,
		"columns":             types.SetType{ElemType: types.StringType},
		"exclude_columns":     types.SetType{ElemType: types.StringType},
		"table_name":          types.StringType,
		"view_key_properties": types.ListType{ElemType: types.StringType},
	}}
)

// known reports whether values hold nothing unknown, at any depth.
func known(ctx context.Context, values ...attr.Value) bool {
	for _, value := range values {
		v, err := value.ToTerraformValue(ctx)
		if err != nil || !v.IsFullyKnown() {
			return false
		}
	}
	return true
}

// toDefinition needs a model whose source, destination and tables are known.
func (m replicationModel) toDefinition(ctx context.Context) (definition.Definition, diag.Diagnostics) {
	d := definition.Definition{
		Name: m.Name.ValueString(), SchemaName: m.SchemaName.ValueString(),
		IncludeSchemaInTableNames: m.IncludeSchemaInTableNames.ValueBool(),
		MaxSnapshotMinutes:        m.MaxSnapshotMinutes.ValueInt64(),
		AcceptSourceIdentity:      m.AcceptSourceIdentity.ValueString(),
		Readers:                   m.readers(),
		Tables:                    map[string]definition.Selection{},
	}
	window, diags := m.lateCommitWindow()
	d.LateCommitWindow = window
	var source, destination endpointModel
	diags.Append(m.Source.As(ctx, &source, basetypes.ObjectAsOptions{})...)
	diags.Append(m.Destination.As(ctx, &destination, basetypes.ObjectAsOptions{})...)
	d.Source, d.Destination = source.toEndpoint(), destination.toEndpoint()

	var tables map[string]selectionModel
	diags.Append(m.Tables.ElementsAs(ctx, &tables, false)...)
	for key, table := range tables {
		selection := definition.Selection{
			Method: table.ReplicationMethod.ValueString(), ReplicationKey: table.ReplicationKey.ValueString(),
			TableName: table.TableName.ValueString(),
		}
		diags.Append(table.Columns.ElementsAs(ctx, &selection.Columns, false)...)
		diags.Append(table.ExcludeColumns.ElementsAs(ctx, &selection.ExcludeColumns, false)...)
		diags.Append(table.ViewKeyProperties.ElementsAs(ctx, &selection.ViewKeyProperties, false)...)
		d.Tables[key] = selection
	}
	return d, diags
}

// readers is nil if no readers are configured, and while they are not known.
func (m replicationModel) readers() []string {
	if m.Readers.IsNull() || m.Readers.IsUnknown() {
		return nil
	}
	names, _ := setStrings(m.Readers)
	slices.Sort(names)
	return append([]string{}, names...)
}

// lateCommitWindow is nil for the default, and while it is not known.
func (m replicationModel) lateCommitWindow() (*time.Duration, diag.Diagnostics) {
	if m.LateCommitWindow.IsNull() || m.LateCommitWindow.IsUnknown() {
		return nil, nil
	}
	var diags diag.Diagnostics
	window, err := time.ParseDuration(m.LateCommitWindow.ValueString())
	if err != nil {
		diags.AddAttributeError(path.Root("late_commit_window"), "Invalid duration", err.Error())
	}
	return &window, diags
}

func (m endpointModel) toEndpoint() definition.Endpoint {
	return definition.Endpoint{Server: m.Server.ValueString(), Database: m.Database.ValueString()}
}

// fromDefinition overwrites what the catalog knows. The destination stays: it says where the
// provider found the catalog.
func (m *replicationModel) fromDefinition(ctx context.Context, d definition.Definition) diag.Diagnostics {
	m.Name = types.StringValue(d.Name)
	m.SchemaName = types.StringValue(d.SchemaName)
	m.IncludeSchemaInTableNames = types.BoolValue(d.IncludeSchemaInTableNames)
	m.AcceptSourceIdentity = textOrNull(asValue(d.AcceptSourceIdentity))
	m.MaxSnapshotMinutes = types.Int64Null()
	if d.MaxSnapshotMinutes > 0 {
		m.MaxSnapshotMinutes = types.Int64Value(d.MaxSnapshotMinutes)
	}
	window := definition.DefaultLateCommitWindow
	if d.LateCommitWindow != nil {
		window = *d.LateCommitWindow
	}
	if text := types.StringValue(durationText(window)); !equalDurations(m.LateCommitWindow, text) {
		m.LateCommitWindow = text // otherwise the user's spelling stays
	}

	var diags, more diag.Diagnostics
	m.Readers, diags = types.SetValueFrom(ctx, types.StringType, d.Readers)
	m.Source, more = types.ObjectValueFrom(ctx, endpointType.AttrTypes, endpointModel{
		Server: types.StringValue(d.Source.Server), Database: types.StringValue(d.Source.Database),
	})
	diags.Append(more...)
	tables := map[string]selectionModel{}
	for key, selection := range d.Tables {
		table := selectionModel{
			ReplicationMethod: textValue(selection.Method),
			ReplicationKey:    textOrNull(selection.ReplicationKey),
			TableName:         textOrNull(selection.TableName),
		}
		table.Columns, more = types.SetValueFrom(ctx, types.StringType, selection.Columns)
		diags.Append(more...)
		table.ExcludeColumns, more = types.SetValueFrom(ctx, types.StringType, selection.ExcludeColumns)
		diags.Append(more...)
		table.ViewKeyProperties, more = types.ListValueFrom(ctx, types.StringType, selection.ViewKeyProperties)
		diags.Append(more...)
		tables[key] = table
	}
	m.Tables, more = types.MapValueFrom(ctx, selectionType, tables)
	diags.Append(more...)

	var destination endpointModel
	diags.Append(m.Destination.As(ctx, &destination, basetypes.ObjectAsOptions{})...)
	d.Destination = destination.toEndpoint()
	m.ID = types.StringValue(replicationID(d))
	m.Revision = types.StringValue(d.Revision())
	return diags
}

// replicationID is the natural key: where the catalog is, and the schema name, which is unique in
// that catalog.
func replicationID(d definition.Definition) string {
	return joinID(d.Destination.Server, d.Destination.Database, d.SchemaName)
}

// splitReplicationID returns the server, the database and the schema name.
func splitReplicationID(id string) ([]string, error) {
	return splitID(id, "destination server", "destination database", "schema_name")
}

// textOrNull is null for an empty text.
func textOrNull(text string) types.String {
	if text == "" {
		return types.StringNull()
	}
	return types.StringValue(text)
}
