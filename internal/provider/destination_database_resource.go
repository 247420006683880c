package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// destinationDatabaseResource manages a database that data is loaded into.
type destinationDatabaseResource struct{ configured }

var _ resource.ResourceWithImportState = (*destinationDatabaseResource)(nil)

func newDestinationDatabaseResource() resource.Resource { return &destinationDatabaseResource{} }

type destinationDatabaseModel struct {
	Server       types.String `tfsdk:"server"`
	Name         types.String `tfsdk:"name"`
	Owner        types.String `tfsdk:"owner"`
	ForceDestroy types.Bool   `tfsdk:"force_destroy"`
}

func (m destinationDatabaseModel) toDatabase() postgres.Database {
	return postgres.Database{Name: m.Name.ValueString(), Owner: m.Owner.ValueString()}
}

// fromDatabase overwrites only what the server can tell us.
func (m *destinationDatabaseModel) fromDatabase(d postgres.Database) {
	m.Name = types.StringValue(d.Name)
	m.Owner = types.StringValue(d.Owner)
}

func (*destinationDatabaseResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_destination_database"
}

func (*destinationDatabaseResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A database for Stitch to load into. Keep it apart from the databases that applications write to: " +
			"what is loaded takes space and time, and is best dropped or restored by itself.\n\n" +
			"The server entry's login must be allowed to create databases: a superuser, or a role with `CREATEDB`. " +
			"The user that loads then needs `stitch_destination_grants`.\n\n" +
			"Destroying drops the database. One that holds tables is kept, and the error lists them, unless `force_destroy` is set. " +
			"Sessions of other programs are never terminated: if they stay connected, the error lists who they are.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the database, exactly as PostgreSQL is to store it. Changing it creates a new database, and drops this one.",
				Required:            true,
				Validators:          []validator.String{validName{}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"owner":         ownerAttribute("database"),
			"force_destroy": forceDestroyAttribute("the database together with all tables in it"),
		},
	}
}

// ownerAttribute is the attribute "owner". One that is no longer configured
// stays the owner: nobody said who else should be.
func ownerAttribute(noun string) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Role that owns the " + noun + ". It is changed in place. By default, it is the login of the server entry when the " + noun + " is created, " +
			"and whoever owns it afterwards. A login that is not a superuser must be a member of the role that is to be the owner.",
		Optional:      true,
		Computed:      true,
		Validators:    []validator.String{validName{}},
		PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

// forceDestroyAttribute is the attribute "force_destroy" of what holds data.
func forceDestroyAttribute(what string) schema.BoolAttribute {
	return schema.BoolAttribute{
		MarkdownDescription: "Whether destroying drops " + what + ". `false` by default. It must be applied before it can take effect on destroy.",
		Optional:            true,
		Computed:            true,
		Default:             booldefault.StaticBool(false),
	}
}

// Create creates the database.
func (r *destinationDatabaseResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan destinationDatabaseModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var database postgres.Database
	server, err := r.server(plan.Server.ValueString())
	if err == nil {
		database, err = server.CreateDatabase(ctx, plan.toDatabase())
	}
	if err != nil {
		err = importable(err, "stitch_destination_database", plan.Server.ValueString(), plan.Name.ValueString())
		resp.Diagnostics.Append(diagnose("Cannot create destination database", err))
		return
	}
	plan.fromDatabase(database)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read looks the database up, without connecting to it.
func (r *destinationDatabaseResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state destinationDatabaseModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var database postgres.Database
	server, err := r.serverToRead(state.Server.ValueString())
	if err == nil {
		database, err = server.Database(ctx, state.Name.ValueString())
	}
	if errors.Is(err, postgres.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot read destination database", err))
		return
	}
	state.fromDatabase(database)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes the owner.
func (r *destinationDatabaseResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan destinationDatabaseModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.server(plan.Server.ValueString())
	if err == nil {
		err = server.UpdateDatabase(ctx, plan.toDatabase())
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update destination database", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete drops the database.
func (r *destinationDatabaseResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state destinationDatabaseModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.server(state.Server.ValueString())
	if err == nil {
		err = server.DropDatabase(ctx, state.Name.ValueString(), state.ForceDestroy.ValueBool())
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete destination database", err))
	}
}

// ImportState takes over a database, which is then not dropped with its tables unless that is configured.
func (*destinationDatabaseResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "server", "name")
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("force_destroy"), false)...)
}
