package provider

import (
	"context"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
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

func newReplicationResource() managed { return &replicationResource{} }

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
		if err := definition.CheckSchemaName(config.SchemaName.ValueString()); err != nil {
			resp.Diagnostics.AddAttributeError(path.Root("schema_name"), "Unusable schema name", "schema_name "+err.Error()+".")
		}
	}
	if !known(ctx, config.Source, config.Destination, config.Tables, config.IncludeSchemaInTableNames) {
		return
	}
	d, diags := config.toDefinition(ctx)
	if diags.HasError() {
		return // the schema's validators report null values
	}
	resp.Diagnostics.Append(atTables(d.Check())...)
}

// endpoint returns the destination, where the catalog is.
func (m replicationModel) endpoint(ctx context.Context, find func(string) (*pgclient.Server, error)) (pgclient.Endpoint, error) {
	var destination endpointModel
	m.Destination.As(ctx, &destination, basetypes.ObjectAsOptions{UnhandledNullAsEmpty: true, UnhandledUnknownAsEmpty: true})
	server, err := find(destination.Server.ValueString())
	return pgclient.Endpoint{Server: server, Database: destination.Database.ValueString()}, err
}

// Create stores the definition.
func (r *replicationResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan replicationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if plan.SchemaName.IsUnknown() { // the name was unknown at plan time
		name, diags := derivedSchemaName(plan.Name.ValueString())
		resp.Diagnostics.Append(diags...)
		if diags.HasError() {
			return
		}
		plan.SchemaName = name
	}
	destination, d, diags := r.complete(ctx, &plan, 0)
	resp.Diagnostics.Append(diags...)
	if diags.HasError() {
		return
	}
	id, _ := r.identifySource(ctx, d.Source, false) // empty while it cannot be read
	resp.Diagnostics.Append(creation{
		object:     replicationObject(destination, d.SchemaName),
		create:     func() error { return replication.Create(ctx, destination, d, plan.Adopt.ValueBool(), id) },
		isExisting: replication.IsExisting,
		adopt: func() ([]string, error) {
			return replication.Adopt(ctx, destination, d, plan.Adopt.ValueBool(), id)
		},
	}.run(ctx, r.claims)...)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
		found, _ := asIdentity(id, nil)
		resp.Diagnostics.Append(source{identity: found}.store(ctx, resp.Private)...)
	}
}

// complete adds to the plan what follows from its definition. It returns the definition, and where
// it is stored.
func (r *replicationResource) complete(ctx context.Context, plan *replicationModel, sourceChanges int) (pgclient.Endpoint, definition.Definition, diag.Diagnostics) {
	d, diags := plan.toDefinition(ctx)
	d.SourceChanges = sourceChanges
	diags.Append(atTables(d.Check())...)
	destination, err := plan.endpoint(ctx, r.server)
	if err != nil && !diags.HasError() {
		diags.Append(diagnose("Cannot store replication "+d.Name, err))
	}
	plan.ID = types.StringValue(replicationID(d))
	plan.Revision = types.StringValue(d.Revision())
	return destination, d, diags
}

func replicationObject(destination pgclient.Endpoint, schemaName string) object {
	return inServer(destination.Server, object{
		noun: "replication", name: schemaName, typeName: "stitch_replication", key: []string{destination.Database, schemaName},
		inTheWay: "If this apply should replace it: schema_name is unique in a database, and a replication cannot be created before the one that has its schema is destroyed. " +
			"Remove create_before_destroy from the lifecycle of this resource and of all resources that refer to it, because they pass it on. Or set another schema_name, which loads the tables again.\n\n",
	})
}

// Read reads the definition. While the destination cannot be reached, the state stays unchanged. A
// catalog that cannot be read has no revision.
func (r *replicationResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state replicationModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var d definition.Definition
	var missing []string
	destination, err := state.endpoint(ctx, r.serverToRead)
	if err == nil {
		d, missing, err = replication.FindWithDrift(ctx, destination, state.SchemaName.ValueString())
	}
	if destination.Server != nil && !replication.IsNotFound(err) {
		r.claims.markInState(replicationObject(destination, state.SchemaName.ValueString()))
	}
	switch {
	case replication.IsNotFound(err):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		unread, drift := unreadCatalog("replication", state.SchemaName.ValueString(), state.Name.IsNull(), destination, err)
		resp.Diagnostics.Append(unread)
		if !drift {
			return
		}
		state.Revision = types.StringNull()
	default:
		resp.Diagnostics.Append(state.fromDefinition(ctx, d)...)
		source, diags := r.readSource(ctx, req.Private, d)
		resp.Diagnostics.Append(diags...)
		resp.Diagnostics.Append(source.store(ctx, resp.Private)...)
		slices.Sort(missing)
		state.ReadersMissing = stringList(missing)
		state.setDefaults()
	}
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
	}
}

// setDefaults gives an imported replication the default values of what the catalog does not store.
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
	before, diags := state.toDefinition(ctx)
	resp.Diagnostics.Append(diags...)
	source := storedSource(ctx, req.Private) // includes what was planned for it
	destination, d, diags := r.complete(ctx, &plan, source.Changes)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	source, diags = r.confirmSource(ctx, source, before.Source, d.Source)
	resp.Diagnostics.Append(diags...)
	if diags.HasError() {
		return
	}
	if err := replication.Update(ctx, destination, d); err != nil {
		resp.Diagnostics.Append(diagnose("Cannot store replication "+d.Name, err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
	resp.Diagnostics.Append(source.store(ctx, resp.Private)...)
}

// Delete deletes the definition.
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
