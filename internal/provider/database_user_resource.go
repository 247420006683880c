package provider

import (
	"context"
	"errors"
	"math"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// databaseUserResource manages the role that Stitch logs in as.
type databaseUserResource struct{ configured }

var _ resource.ResourceWithImportState = (*databaseUserResource)(nil)

func newDatabaseUserResource() resource.Resource { return &databaseUserResource{} }

type databaseUserModel struct {
	Server            types.String `tfsdk:"server"`
	Name              types.String `tfsdk:"name"`
	PasswordWO        types.String `tfsdk:"password_wo"`
	PasswordWOVersion types.Int64  `tfsdk:"password_wo_version"`
	ConnectionLimit   types.Int64  `tfsdk:"connection_limit"`
	Login             types.Bool   `tfsdk:"login"`
}

func (m databaseUserModel) toUser() postgres.User {
	return postgres.User{
		Name:            m.Name.ValueString(),
		Login:           m.Login.ValueBool(),
		ConnectionLimit: int(m.ConnectionLimit.ValueInt64()),
	}
}

// fromUser overwrites only what the server can tell us.
func (m *databaseUserModel) fromUser(u postgres.User) {
	m.Name = types.StringValue(u.Name)
	m.Login = types.BoolValue(u.Login)
	m.ConnectionLimit = types.Int64Value(int64(u.ConnectionLimit))
}

func (*databaseUserResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_database_user"
}

func (*databaseUserResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A database user (in PostgreSQL's words, a role that can log in) for Stitch. It can do nothing but log in until it is granted rights: " +
			"`stitch_source_grants` for the database that it reads, `stitch_destination_grants` for the one that it loads into.\n\n" +
			"The password is never stored by Terraform. The server gets a SCRAM-SHA-256 verifier that the provider computes, so that no statement and no server log shows the password; " +
			"this needs PostgreSQL 10 or newer.\n\n" +
			"The server entry's login must be allowed to create roles: a superuser, or a role with `CREATEROLE`. " +
			"Destroying drops the user, unless objects or privileges depend on it: then the error lists them, and the SQL that resolves them.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the user, exactly as PostgreSQL is to store it. Changing it creates a new user.",
				Required:            true,
				Validators:          []validator.String{validName{}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"password_wo": schema.StringAttribute{
				MarkdownDescription: "Password of the user. It is write-only: it is sent when the user is created and when `password_wo_version` changes, " +
					"and appears neither in plan nor in state, so that it can come from an ephemeral variable or resource. " +
					"Without one, the user can log in only where the server asks for no password.",
				Optional:  true,
				WriteOnly: true,
				Validators: []validator.String{
					stringvalidator.LengthAtLeast(1),
					stringvalidator.AlsoRequires(path.MatchRoot("password_wo_version")),
				},
			},
			"password_wo_version": schema.Int64Attribute{
				MarkdownDescription: "Number of the password. Terraform can not see that `password_wo` changed, nor that somebody changed it on the server: raise this number to send it again.",
				Optional:            true,
				Validators:          []validator.Int64{int64validator.AlsoRequires(path.MatchRoot("password_wo"))},
			},
			"connection_limit": schema.Int64Attribute{
				MarkdownDescription: "How many connections the user may have at once; `-1`, the default, is no limit.",
				Optional:            true,
				Computed:            true,
				Default:             int64default.StaticInt64(-1),
				Validators:          []validator.Int64{int64validator.Between(-1, math.MaxInt32)},
			},
			"login": schema.BoolAttribute{
				MarkdownDescription: "Whether the user may log in. It always may: if that was taken away on the server, the next apply gives it back.",
				Computed:            true,
				Default:             booldefault.StaticBool(true),
			},
		},
	}
}

// Create creates the user with the password of the configuration.
func (r *databaseUserResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan databaseUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	password, err := newPassword(ctx, req.Config, plan.PasswordWOVersion)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create database user", err))
		return
	}
	server, err := r.server(plan.Server.ValueString())
	if err == nil {
		err = server.CreateUser(ctx, plan.toUser(), password)
	}
	if err != nil {
		err = importable(err, "stitch_database_user", plan.Server.ValueString(), plan.Name.ValueString())
		resp.Diagnostics.Append(diagnose("Cannot create database user", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// newPassword reads the password that a version stands for, which exists
// nowhere but in the configuration; "" if there is no version.
func newPassword(ctx context.Context, config tfsdk.Config, version types.Int64) (string, error) {
	if version.IsNull() {
		return "", nil
	}
	var password types.String
	if config.GetAttribute(ctx, path.Root("password_wo"), &password).HasError() || password.ValueString() == "" {
		return "", errors.New("password_wo is empty, although password_wo_version is set")
	}
	return password.ValueString(), nil
}

// Read looks the user up.
func (r *databaseUserResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state databaseUserModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var user postgres.User
	server, err := r.serverToRead(state.Server.ValueString())
	if err == nil {
		user, err = server.User(ctx, state.Name.ValueString())
	}
	if errors.Is(err, postgres.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot read database user", err))
		return
	}
	state.fromUser(user)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes what differs, and sends the password if its version changed.
func (r *databaseUserResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state databaseUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var password *string
	if !plan.PasswordWOVersion.IsNull() && !plan.PasswordWOVersion.Equal(state.PasswordWOVersion) {
		text, err := newPassword(ctx, req.Config, plan.PasswordWOVersion)
		if err != nil {
			resp.Diagnostics.Append(diagnose("Cannot update database user", err))
			return
		}
		password = &text
	}
	server, err := r.server(plan.Server.ValueString())
	if err == nil {
		err = server.UpdateUser(ctx, plan.toUser(), password)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update database user", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete drops the user, which takes nothing along.
func (r *databaseUserResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state databaseUserModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.server(state.Server.ValueString())
	if err == nil {
		err = server.DropUser(ctx, state.Name.ValueString())
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete database user", err))
	}
}

// ImportState takes over a user, and leaves its password alone until a version is configured.
func (*databaseUserResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "server", "name")
}
