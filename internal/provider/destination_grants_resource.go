package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
)

// destinationGrantsResource manages what a user needs to load into a database.
type destinationGrantsResource struct{ configured }

var (
	_ resource.ResourceWithImportState = (*destinationGrantsResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*destinationGrantsResource)(nil)
)

func newDestinationGrantsResource() managed { return &destinationGrantsResource{} }

type destinationGrantsModel struct {
	Server         types.String `tfsdk:"server"`
	Database       types.String `tfsdk:"database"`
	User           types.String `tfsdk:"user"`
	SystemCatalogs types.Bool   `tfsdk:"system_catalogs"`
	Missing        types.List   `tfsdk:"missing"`
	Excess         types.List   `tfsdk:"excess"`
}

func (m destinationGrantsModel) toGrants(id string) privilege.DestinationGrants {
	return privilege.DestinationGrants{
		Resource:       id,
		Database:       m.Database.ValueString(),
		User:           m.User.ValueString(),
		SystemCatalogs: m.SystemCatalogs.ValueBool(),
	}
}

func (*destinationGrantsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_destination_grants"
}

func (*destinationGrantsResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Lets a database user load into a destination database: `CONNECT`, `CREATE` and `TEMPORARY` on the database. " +
			"With `CREATE`, the user creates the schemas that it loads into, and owns them. The right to create tables in an existing schema is no substitute.\n\n" +
			"A right that was revoked on the server appears in `missing` and is granted by the next apply. " +
			"Use one resource for each user and database. If there are two and one is destroyed, the other loses rights, unless both change in one apply. A plan warns if it sees two.\n\n" +
			"Destroying the resource revokes the rights, and `CONNECT` if the user was granted nothing else in the database. Schemas and tables that the user created stay.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"database": schema.StringAttribute{
				MarkdownDescription: "Database to load into, which must exist. Changing it creates new grants. " +
					"Refer to this attribute from the replication: the grants then exist before the replication and are destroyed after it.",
				Required:      true,
				Validators:    []validator.String{validName()},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"user": schema.StringAttribute{
				MarkdownDescription: "Name of the database user that loads. Changing it creates new grants.",
				Required:            true,
				Validators:          []validator.String{validName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"system_catalogs": schema.BoolAttribute{
				MarkdownDescription: "Whether to also grant `SELECT` on `information_schema` and on the tables of `pg_catalog` that a sync reads; `false` by default. " +
					"Needed only where these rights were revoked from `PUBLIC`. The provider never grants access to catalogs that hold credentials or statistics.",
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(false),
			},
			"missing": missingAttribute("CREATE ON DATABASE analytics"),
			"excess":  excessAttribute(""),
		},
	}
}

// ModifyPlan warns of two resources that grant the same.
func (r *destinationGrantsResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.configured.ModifyPlan(ctx, req, resp)
	r.checkGrants(ctx, req, resp, func(from values) (grantsOf, diag.Diagnostics) {
		var m destinationGrantsModel
		diags := from.Get(ctx, &m)
		return grantsOf{server: m.Server.ValueString(), database: m.Database.ValueString(), user: m.User.ValueString(), items: []string{"CREATE", "TEMPORARY"}}, diags
	})
}

// Create grants.
func (r *destinationGrantsResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan destinationGrantsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err == nil {
		id, diags := newGrantsID(ctx, resp.Private)
		resp.Diagnostics.Append(diags...)
		err = privilege.GrantDestination(ctx, server, plan.toGrants(id))
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create destination grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read reads which grants are missing.
func (r *destinationGrantsResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state destinationGrantsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var drift privilege.Drift
	server, err := r.serverToRead(state.Server.ValueString())
	if err == nil {
		id, diags := grantsIDOf(ctx, resp.Private)
		resp.Diagnostics.Append(diags...)
		drift, err = privilege.DestinationDrift(ctx, server, state.toGrants(id))
	}
	if errors.Is(err, pgclient.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(unread("destination grants", state.Database.ValueString(), state.Missing.IsNull(), err))
		return
	}
	state.Missing, state.Excess = stringList(drift.Missing), stringList(drift.Excess)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update grants what is missing and revokes what is no longer configured.
func (r *destinationGrantsResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state destinationGrantsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err == nil {
		id, diags := grantsIDOf(ctx, resp.Private)
		resp.Diagnostics.Append(diags...)
		err = privilege.UpdateDestination(ctx, server, state.toGrants(id), plan.toGrants(id))
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update destination grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete revokes the grants.
func (r *destinationGrantsResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state destinationGrantsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(state.Server.ValueString(), &resp.Diagnostics)
	if err == nil {
		id, diags := readGrantsID(ctx, req.Private)
		resp.Diagnostics.Append(diags...)
		err = privilege.RevokeDestination(ctx, server, state.toGrants(id))
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete destination grants", err))
	}
}

// ImportState reads nothing: the Read that follows finds what is missing.
func (*destinationGrantsResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "server", "database", "user")
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("system_catalogs"), false)...)
}
