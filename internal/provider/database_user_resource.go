package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// databaseUserResource manages the role that Stitch logs in as.
type databaseUserResource struct{ configured }

var (
	_ resource.ResourceWithImportState    = (*databaseUserResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*databaseUserResource)(nil)
	_ resource.ResourceWithValidateConfig = (*databaseUserResource)(nil)
)

func newDatabaseUserResource() managed { return &databaseUserResource{} }

func (*databaseUserResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_database_user"
}

// ValidateConfig refuses what would fail only when the user is destroyed.
func (*databaseUserResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config databaseUserModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if !config.ReassignOwnedTo.IsNull() && !config.ReassignOwnedTo.IsUnknown() && config.ReassignOwnedTo.Equal(config.Name) {
		resp.Diagnostics.AddAttributeError(path.Root("reassign_owned_to"), "Invalid role", "The objects of a user cannot be reassigned to the same user.")
	}
	roles, _ := setStrings(config.Roles)
	if err := postgres.CheckRoles(config.Name.ValueString(), roles); err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("roles"), "Invalid role", err.Error())
	}
}

// ModifyPlan says why the plan sets a password again although the configuration did not change it.
func (r *databaseUserResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.configured.ModifyPlan(ctx, req, resp)
	if req.Plan.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	if req.State.Raw.IsNull() {
		r.planReplacement(ctx, req, resp)
		return
	}
	var plan, state databaseUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	seal, diags := readSeal(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	// Read takes the version away when the password is no longer the sealed one.
	if seal != nil && state.PasswordWOVersion.IsNull() && !plan.PasswordWOVersion.IsNull() {
		resp.Diagnostics.AddAttributeWarning(path.Root("password_wo_version"), "Password changed on the server",
			fmt.Sprintf("The password of database user %q was changed on server %q since Terraform set it. The next apply sets password_wo again.",
				state.Name.ValueString(), state.Server.ValueString()))
	}
	if plan.PasswordWOVersion.Equal(state.PasswordWOVersion) && plan.PasswordEncryption.Equal(state.PasswordEncryption) {
		resp.Diagnostics.Append(r.checkRotation(ctx, req.Config, plan)...)
	}
}

// checkRotation warns of a password that an entry of the provider block already logs in with, but
// that the server did not get because its version was not raised. A password that no entry logs in
// with may differ from plan to plan.
func (r *databaseUserResource) checkRotation(ctx context.Context, config tfsdk.Config, plan databaseUserModel) (diags diag.Diagnostics) {
	password, err := newPassword(ctx, config, plan)
	if err != nil || password == nil {
		return nil // not known yet
	}
	name := plan.Name.ValueString()
	server, err := r.serverToRead(plan.Server.ValueString())
	if err != nil {
		return nil // Read has reported it
	}
	entries := server.EntriesWith(name, password.Text)
	if len(entries) == 0 {
		return nil
	}
	if user, err := postgres.ReadUser(ctx, server, name); err == nil && user.StoresAnother(password) {
		diags.AddAttributeWarning(path.Root("password_wo_version"), "The password was changed only in the configuration",
			fmt.Sprintf("password_wo of database user %q has changed, and servers.%s already logs in with it, but the server still has another password. "+
				"Raise password_wo_version (now %d) to send the new password: Terraform cannot see that a write-only argument changed. Until then, these logins fail.",
				name, strings.Join(entries, ", servers."), plan.PasswordWOVersion.ValueInt64()))
	}
	return diags
}

// Create creates the user with the password of the configuration.
func (r *databaseUserResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan databaseUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	password, err := newPassword(ctx, req.Config, plan)
	var server *pgclient.Server
	if err == nil {
		server, err = r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create database user", err))
		return
	}
	var seal *postgres.PasswordSeal
	isLeft := r.claims.isLeft(plan.object(server))
	resp.Diagnostics.Append(creation{
		object: plan.object(server),
		create: func() (err error) {
			if isLeft {
				seal, err = postgres.UpdateUser(ctx, server, plan.toUser(), password)
			} else {
				seal, err = postgres.CreateUser(ctx, server, plan.toUser(), password)
			}
			return err
		},
		isExisting: pgclient.IsExisting,
		adopt: func() (refusals []string, err error) {
			seal, refusals, err = postgres.AdoptUser(ctx, server, plan.toUser(), password)
			return refusals, err
		},
	}.run(ctx, r.claims)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(writeSeal(ctx, resp.Private, seal)...)
	resp.Diagnostics.Append(endReplacement(ctx, resp.Private)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// newPassword reads the password that a version stands for, which exists only in the configuration.
// It returns nil if there is no version.
func newPassword(ctx context.Context, config tfsdk.Config, plan databaseUserModel) (*postgres.Password, error) {
	if plan.PasswordWOVersion.IsNull() {
		return nil, nil
	}
	var text types.String
	if config.GetAttribute(ctx, path.Root("password_wo"), &text).HasError() || text.ValueString() == "" {
		return nil, errors.New("password_wo is empty, but password_wo_version is set")
	}
	return &postgres.Password{Text: text.ValueString(), Encryption: plan.PasswordEncryption.ValueString()}, nil
}

// Read looks the user up.
func (r *databaseUserResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state databaseUserModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	seal, diags := readSeal(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	var user postgres.User
	server, err := r.serverToRead(state.Server.ValueString())
	if err == nil {
		user, err = postgres.ReadUser(ctx, server, state.Name.ValueString())
	}
	if errors.Is(err, pgclient.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(unread("database user", state.Name.ValueString(), state.Login.IsNull(), err))
		return
	}
	r.claims.markInState(state.object(server))
	if state.Login.IsNull() { // it is being imported
		resp.Diagnostics.Append(warnOfPowers(state, user)...)
	}
	state.fromUser(user)
	if user.PasswordChanged(seal) {
		state.PasswordWOVersion = types.Int64Null() // so that the next plan sets it again
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes what differs. It sends the password if its version changed, or if the server is to
// store it in another way.
func (r *databaseUserResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state databaseUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	sends := !plan.PasswordWOVersion.Equal(state.PasswordWOVersion) || !plan.PasswordEncryption.Equal(state.PasswordEncryption)
	var password *postgres.Password
	var err error
	if sends {
		password, err = newPassword(ctx, req.Config, plan)
	}
	var server *pgclient.Server
	if err == nil {
		server, err = r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	}
	var seal *postgres.PasswordSeal
	if err == nil {
		seal, err = postgres.UpdateUser(ctx, server, plan.toUser(), password)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update database user", err))
		return
	}
	if sends { // also for a password that is no longer managed: it may change from now on
		resp.Diagnostics.Append(writeSeal(ctx, resp.Private, seal)...)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete drops the user, together with what reassign_owned_to and terminate_sessions name.
func (r *databaseUserResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state databaseUserModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(state.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete database user", err))
		return
	}
	resp.Diagnostics.Append(state.object(server).remove(ctx, r.claims, func() error {
		if isReplacement(ctx, req.Private) {
			return r.dropReplaced(ctx, server, state, &resp.Diagnostics)
		}
		return postgres.DropUser(ctx, server, state.Name.ValueString(), postgres.DropOptions{
			ReassignOwnedTo:   state.ReassignOwnedTo.ValueString(),
			TerminateSessions: state.TerminateSessions.ValueBool(),
		})
	})...)
}

// ImportState takes over a user, and does not touch its password until a version is configured.
func (*databaseUserResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "server", "name")
}

// warnOfPowers says which powers an imported user has beyond those that one for Stitch needs.
func warnOfPowers(m databaseUserModel, u postgres.User) (diags diag.Diagnostics) {
	powers := u.Excess(postgres.User{})
	if u.BypassRLS {
		powers = append(powers, "BYPASSRLS")
	}
	if u.Replication {
		powers = append(powers, "REPLICATION")
	}
	if len(powers) > 0 {
		diags.AddWarning("The imported user has more privileges than Stitch needs", fmt.Sprintf(
			"The user %q of server %q has these attributes and memberships: %s. The next apply removes what replication, bypass_rls and roles do not ask for. "+
				"If others use this user, for instance as an administrator's login, do not manage it here: create a separate user for Stitch.",
			u.Name, m.Server.ValueString(), oneLine(strings.Join(powers, ", "))))
	}
	return diags
}

// sealKey is where the private state, which no plan shows, holds the seal of the password that was
// sent to the server.
const sealKey = "password_seal"

// readSeal returns nil if there is no seal. It takes an interface because the framework does not
// export the type of the private state.
func readSeal(ctx context.Context, private interface {
	GetKey(context.Context, string) ([]byte, diag.Diagnostics)
}) (*postgres.PasswordSeal, diag.Diagnostics) {
	text, diags := private.GetKey(ctx, sealKey)
	if diags.HasError() || text == nil {
		return nil, diags
	}
	var seal *postgres.PasswordSeal
	if err := json.Unmarshal(text, &seal); err != nil {
		diags.AddError("Cannot read the private state", err.Error())
	}
	return seal, diags
}

// writeSeal with nil forgets the seal.
func writeSeal(ctx context.Context, private interface {
	SetKey(context.Context, string, []byte) diag.Diagnostics
}, seal *postgres.PasswordSeal) (diags diag.Diagnostics) {
	text, err := json.Marshal(seal)
	if err != nil {
		diags.AddError("Cannot write the private state", err.Error())
		return diags
	}
	return private.SetKey(ctx, sealKey, text)
}
