package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// replicationResource manages the definition of a replication.
type replicationResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = (*replicationResource)(nil)
	_ resource.ResourceWithImportState    = (*replicationResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*replicationResource)(nil)
	_ resource.ResourceWithValidateConfig = (*replicationResource)(nil)
)

func newReplicationResource() resource.Resource { return &replicationResource{} }

// Metadata names the resource.
func (*replicationResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_replication"
}

// ValidateConfig finds what is wrong with the definition in itself.
func (*replicationResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config replicationModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !config.SchemaName.IsNull() && !config.SchemaName.IsUnknown() {
		if err := replication.CheckSchemaName(config.SchemaName.ValueString()); err != nil {
			resp.Diagnostics.AddAttributeError(path.Root("schema_name"), "Unusable schema name", "schema_name "+err.Error()+".")
		}
	}
	if !known(ctx, config.Source, config.Destination, config.Tables, config.IncludeSchemaInTableNames) {
		return
	}
	definition, diags := config.toDefinition(ctx)
	if diags.HasError() {
		return // the validators of the schema say where null is
	}
	resp.Diagnostics.Append(atTables(definition.Check())...)
}

// atTables puts each problem at the line of its table: Terraform does not know where
// the attributes within are.
func atTables(problems []replication.Problem) (diags diag.Diagnostics) {
	for _, p := range problems {
		message := p.Message + "."
		if p.Attribute != "" {
			message = p.Attribute + ": " + message
		}
		diags.AddAttributeError(path.Root("tables").AtMapKey(p.Table), "Cannot replicate table "+p.Table, message)
	}
	return diags
}

// ModifyPlan works out what follows from the configuration, and checks it
// against the source if that can be read now.
func (r *replicationResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
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
	var definition replication.Definition
	if complete {
		var diags diag.Diagnostics
		definition, diags = plan.toDefinition(ctx)
		resp.Diagnostics.Append(diags...)
		plan.ID = types.StringValue(replicationID(definition))
		plan.Revision = types.StringValue(definition.Revision())
	}
	for name, value := range map[string]attr.Value{"schema_name": plan.SchemaName, "id": plan.ID, "revision": plan.Revision} {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(name), value)...)
	}
	if complete && plan.ValidateAtPlan.ValueBool() && !resp.Diagnostics.HasError() {
		var before types.String
		if !req.State.Raw.IsNull() {
			resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("revision"), &before)...)
		}
		resp.Diagnostics.Append(r.checkSource(ctx, definition, !before.Equal(plan.Revision))...)
		resp.Diagnostics.Append(r.warnOfSnapshots(ctx, plan, definition)...)
	}
}

// warnOfSnapshots names the tables that take longer to read than a snapshot may be
// held. What cannot be read is left to the run.
func (r *replicationResource) warnOfSnapshots(ctx context.Context, plan replicationModel, definition replication.Definition) (diags diag.Diagnostics) {
	if definition.MaxSnapshotMinutes == 0 {
		return nil
	}
	source, err := r.serverToRead(definition.Source.Server)
	if err != nil {
		return nil
	}
	destination, err := plan.endpoint(ctx, r.serverToRead)
	if err != nil {
		return nil
	}
	long, err := replication.LongSnapshots(ctx, postgres.Endpoint{Server: source, Database: definition.Source.Database}, destination, definition)
	if err == nil && len(long) > 0 {
		diags.AddAttributeWarning(path.Root("max_snapshot_minutes"), "Tables may take longer to read than a snapshot may be held",
			fmt.Sprintf("max_snapshot_minutes allows %d. From the size of the tables now and from the last run:\n- %s\n\n"+
				"FULL_TABLE reads a table in one snapshot, and fails when it becomes too old. Raise max_snapshot_minutes, or replicate the table with INCREMENTAL and an indexed replication_key.",
				definition.MaxSnapshotMinutes, strings.Join(long, "\n- ")))
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

// plannedSchemaName is what the configuration says, or what it was when the
// replication was created, or what follows from the name.
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
	derived, err := replication.SchemaNameOf(name)
	if err != nil {
		diags.AddAttributeError(path.Root("name"), "Unusable schema name", err.Error()+".")
		return types.StringUnknown(), diags
	}
	return types.StringValue(derived), nil
}

// checkSource checks the definition against the source. A source that cannot
// be read yet leaves it to the run. What is only to be known is told of a definition that
// is new.
func (r *replicationResource) checkSource(ctx context.Context, definition replication.Definition, isNew bool) (diags diag.Diagnostics) {
	server, err := r.serverToRead(definition.Source.Server)
	var problems []replication.Problem
	var keepVersions []string
	if err == nil {
		source := postgres.Endpoint{Server: server, Database: definition.Source.Database}
		problems, keepVersions, err = replication.CheckSource(ctx, source, definition)
	}
	if err != nil {
		diags.Append(unchecked("Tables of replication "+definition.Name+" were not checked against the source", err,
			"The run checks them."))
	}
	diags.Append(atTables(problems)...)
	if isNew && len(keepVersions) > 0 {
		diags.AddAttributeWarning(path.Root("tables"), "INCREMENTAL keeps every version of rows that change",
			fmt.Sprintf("Nothing identifies a row of %s: a row that changes is loaded beside its earlier versions. "+
				"Give a view view_key_properties, and a table a primary key, or use FULL_TABLE.", (remark{tables: keepVersions}).some()))
	}
	return diags
}

// endpoint returns the destination, where the catalog is.
func (m replicationModel) endpoint(ctx context.Context, find func(string) (*postgres.Server, error)) (postgres.Endpoint, error) {
	var destination endpointModel
	m.Destination.As(ctx, &destination, basetypes.ObjectAsOptions{UnhandledNullAsEmpty: true, UnhandledUnknownAsEmpty: true})
	server, err := find(destination.Server.ValueString())
	return postgres.Endpoint{Server: server, Database: destination.Database.ValueString()}, err
}

// Create stores the definition.
func (r *replicationResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan replicationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if plan.SchemaName.IsUnknown() { // the name was not known when planning
		name, diags := derivedSchemaName(plan.Name.ValueString())
		resp.Diagnostics.Append(diags...)
		if diags.HasError() {
			return
		}
		plan.SchemaName = name
	}
	destination, definition, diags := r.complete(ctx, &plan)
	resp.Diagnostics.Append(diags...)
	if diags.HasError() {
		return
	}
	resp.Diagnostics.Append(creation{
		object:     replicationObject(destination, definition.SchemaName),
		create:     func() error { return replication.Create(ctx, destination, definition, plan.Adopt.ValueBool()) },
		isExisting: replication.IsExisting,
		adopt: func() ([]string, error) {
			return replication.Adopt(ctx, destination, definition, plan.Adopt.ValueBool())
		},
	}.run(ctx, r.claims)...)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	}
}

// complete adds to the plan what follows from its definition, and returns that and
// where it is stored.
func (r *replicationResource) complete(ctx context.Context, plan *replicationModel) (postgres.Endpoint, replication.Definition, diag.Diagnostics) {
	definition, diags := plan.toDefinition(ctx)
	diags.Append(atTables(definition.Check())...)
	destination, err := plan.endpoint(ctx, r.server)
	if err != nil && !diags.HasError() {
		diags.Append(diagnose("Cannot store replication "+definition.Name, err))
	}
	plan.ID = types.StringValue(replicationID(definition))
	plan.Revision = types.StringValue(definition.Revision())
	return destination, definition, diags
}

func replicationObject(destination postgres.Endpoint, schemaName string) object {
	return inServer(destination.Server, object{
		noun: "replication", name: schemaName, typeName: "stitch_replication", key: []string{destination.Database, schemaName},
	})
}

// Read reads the definition. While the destination cannot be reached, the
// state stays as it is.
func (r *replicationResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state replicationModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	destination, err := state.endpoint(ctx, r.serverToRead)
	if err != nil {
		resp.Diagnostics.Append(r.unread(state, err))
		return
	}
	definition, missing, err := replication.FindWithMissing(ctx, destination, state.SchemaName.ValueString())
	switch {
	case replication.IsGone(err):
		resp.State.RemoveResource(ctx)
		return
	case err != nil && (postgres.IsUnreachable(err) || replication.IsAnothers(err)):
		resp.Diagnostics.Append(r.unread(state, err))
		return
	case err != nil:
		resp.Diagnostics.Append(diagnose("Cannot read replication "+state.SchemaName.ValueString(), err))
		return
	}
	resp.Diagnostics.Append(state.fromDefinition(ctx, definition)...)
	slices.Sort(missing)
	state.ReadersMissing = stringList(missing)
	state.setDefaults()
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
	}
}

// unread says that the replication was not read. An import needs it to be.
func (*replicationResource) unread(state replicationModel, err error) diag.Diagnostic {
	if state.Name.IsNull() {
		return diagnose("Cannot import replication "+state.SchemaName.ValueString(), err)
	}
	return unchecked("Replication "+state.SchemaName.ValueString()+" was not read", err, "Its state is kept as it was.")
}

// setDefaults gives an imported replication the defaults of what the catalog
// does not know.
func (m *replicationModel) setDefaults() {
	if m.ValidateAtPlan.IsNull() {
		m.ValidateAtPlan = types.BoolValue(true)
	}
	for _, flag := range []*types.Bool{&m.Adopt, &m.ForceDestroy} {
		if flag.IsNull() {
			*flag = types.BoolValue(false)
		}
	}
}

// Update stores the changed definition.
func (r *replicationResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state replicationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	destination, definition, diags := r.complete(ctx, &plan)
	resp.Diagnostics.Append(diags...)
	if diags.HasError() {
		return
	}
	var err error
	if replicationID(definition) != state.ID.ValueString() {
		err = checkMove(ctx, destination, definition, state.Revision.ValueString())
	}
	if err == nil {
		err = replication.Update(ctx, destination, definition)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot store replication "+definition.Name, err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// checkMove makes sure that another server entry leads to the same database:
// what it leads to must hold the replication, as it was or as it shall be.
func checkMove(ctx context.Context, destination postgres.Endpoint, d replication.Definition, revision string) error {
	found, err := replication.Find(ctx, destination, d.SchemaName)
	switch {
	case err == nil:
		found.Destination = d.Destination
		if now := found.Revision(); now == revision || now == d.Revision() {
			return nil
		}
		err = errors.New("it holds another one for the same schema")
	case !replication.IsGone(err):
		return err
	}
	return postgres.Advise(
		fmt.Errorf("database %q of server %q does not hold this replication: %w", d.Destination.Database, d.Destination.Server, err),
		"Another destination.server must be another login for the same database, which keeps bookmarks and loaded tables. "+
			"To load into another database, replace the replication: terraform apply -replace=<its address>.")
}

// Delete forgets the definition.
func (r *replicationResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state replicationModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	destination, err := state.endpoint(ctx, r.server)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete replication "+state.SchemaName.ValueString(), err))
		return
	}
	schemaName := state.SchemaName.ValueString()
	resp.Diagnostics.Append(replicationObject(destination, schemaName).remove(ctx, r.claims, func() error {
		return replication.Delete(ctx, destination, schemaName, state.ForceDestroy.ValueBool())
	})...)
}

// ImportState reads the id: destination server, destination database, schema name.
func (*replicationResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	parts, err := splitReplicationID(req.ID)
	if err != nil {
		resp.Diagnostics.AddError("Cannot read the import id", err.Error())
		return
	}
	destination, diags := types.ObjectValueFrom(ctx, endpointType.AttrTypes,
		endpointModel{Server: types.StringValue(parts[0]), Database: types.StringValue(parts[1])})
	resp.Diagnostics.Append(diags...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("destination"), destination)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("schema_name"), parts[2])...)
}
