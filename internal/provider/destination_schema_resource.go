package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// destinationSchemaResource manages a schema that data is loaded into.
type destinationSchemaResource struct{ configured }

var _ resource.ResourceWithImportState = (*destinationSchemaResource)(nil)

func newDestinationSchemaResource() managed { return &destinationSchemaResource{} }

type destinationSchemaModel struct {
	Server       types.String `tfsdk:"server"`
	Database     types.String `tfsdk:"database"`
	Name         types.String `tfsdk:"name"`
	Owner        types.String `tfsdk:"owner"`
	Comment      types.String `tfsdk:"comment"`
	ForceDestroy types.Bool   `tfsdk:"force_destroy"`
}

func (m destinationSchemaModel) toSchema() postgres.Schema {
	return postgres.Schema{
		Database: m.Database.ValueString(),
		Name:     m.Name.ValueString(),
		Owner:    m.Owner.ValueString(),
		Comment:  m.Comment.ValueString(),
	}
}

func (m destinationSchemaModel) object(server *pgclient.Server) object {
	return inServer(server, object{
		noun: "destination schema", name: m.Name.ValueString(), typeName: "stitch_destination_schema",
		key: []string{m.Database.ValueString(), m.Name.ValueString()},
	})
}

// fromSchema overwrites only what the server reports.
func (m *destinationSchemaModel) fromSchema(c postgres.Schema) {
	m.Database = types.StringValue(c.Database)
	m.Name = types.StringValue(c.Name)
	m.Owner = types.StringValue(c.Owner)
	m.Comment = types.StringValue(c.Comment)
}

func (*destinationSchemaResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_destination_schema"
}

func (*destinationSchemaResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A schema for Stitch to load into. This resource is optional: runs create the schemas of their replications themselves. " +
			"Use it to create a schema with an owner of your choice before the first run, or for tables of your own next to the loaded ones.\n\n" +
			"The server entry's login needs `CREATE` on the database.\n\n" +
			"Destroying drops the schema; if it was imported, the plan warns about that. Unless `force_destroy` is set, a schema that holds anything is kept, and the error lists its contents.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"database": schema.StringAttribute{
				MarkdownDescription: "Database that holds the schema. Changing it creates a new schema in that database, and drops this one.",
				Required:            true,
				Validators:          []validator.String{validName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the schema, exactly as PostgreSQL stores it. Changing it creates a new schema, and drops this one. " +
					"`public` already exists; names that begin with `pg_`, `information_schema` and `_stitch` are reserved.",
				Required:      true,
				Validators:    []validator.String{validSchemaName()},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"owner":         ownerAttribute("schema"),
			"comment":       commentAttribute("schema"),
			"force_destroy": forceDestroyAttribute("the schema together with everything in it, and objects elsewhere that depend on it, such as views"),
		},
	}
}

// Create creates the schema.
func (r *destinationSchemaResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan destinationSchemaModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create destination schema", err))
		return
	}
	var created postgres.Schema
	resp.Diagnostics.Append(creation{
		object: plan.object(server),
		create: func() (err error) {
			created, err = postgres.CreateSchema(ctx, server, plan.toSchema())
			return err
		},
		isExisting: pgclient.IsExisting,
		adopt: func() (refusals []string, err error) {
			created, refusals, err = postgres.AdoptSchema(ctx, server, plan.toSchema())
			return refusals, err
		},
	}.run(ctx, r.claims)...)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.fromSchema(created)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read reads the schema. The schema is gone if its database is.
func (r *destinationSchemaResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state destinationSchemaModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var found postgres.Schema
	server, err := r.serverToRead(state.Server.ValueString())
	if err == nil {
		found, err = postgres.ReadSchema(ctx, server, state.Database.ValueString(), state.Name.ValueString())
	}
	if errors.Is(err, pgclient.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(unread("destination schema", state.Name.ValueString(), state.Owner.IsNull(), err))
		return
	}
	r.claims.markInState(state.object(server))
	state.fromSchema(found)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes owner and comment.
func (r *destinationSchemaResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan destinationSchemaModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err == nil {
		err = postgres.UpdateSchema(ctx, server, plan.toSchema())
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update destination schema", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// ModifyPlan names the tables that go with a schema that the plan removes, or that prevent the
// removal.
func (r *destinationSchemaResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.configured.ModifyPlan(ctx, req, resp)
	model, is := removed(ctx, req, r.claims, r.objectOf)
	if !is || resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToRead(model.Server.ValueString())
	if err != nil {
		return // Read has reported it
	}
	losses, err := postgres.Losses(ctx, server, model.Database.ValueString(), model.Name.ValueString())
	if err == nil {
		resp.Diagnostics.Append(takesTables(model.object(server), losses, model.ForceDestroy.ValueBool())...)
	}
}

func (r *destinationSchemaResource) objectOf(model destinationSchemaModel) (object, bool) {
	server, err := r.serverToRead(model.Server.ValueString())
	if err != nil {
		return object{}, false
	}
	return model.object(server), true
}

// Delete drops the schema.
func (r *destinationSchemaResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state destinationSchemaModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(state.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete destination schema", err))
		return
	}
	resp.Diagnostics.Append(state.object(server).remove(ctx, r.claims, func() error {
		return postgres.DropSchema(ctx, server, state.Database.ValueString(), state.Name.ValueString(), state.ForceDestroy.ValueBool())
	})...)
}

// ImportState takes over a schema. A destroy then drops it with its tables only if that is
// configured.
func (*destinationSchemaResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "server", "database", "name")
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("force_destroy"), false)...)
}
