package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// sshUserResource manages a user of a Linux host, the one that tunnels log in as.
type sshUserResource struct{ onHost }

var (
	_ resource.ResourceWithImportState = (*sshUserResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*sshUserResource)(nil)
)

func newSSHUserResource() managed { return &sshUserResource{} }

type sshUserModel struct {
	Host               types.String `tfsdk:"host"`
	Username           types.String `tfsdk:"username"`
	Group              types.String `tfsdk:"group"`
	Home               types.String `tfsdk:"home"`
	Shell              types.String `tfsdk:"shell"`
	Comment            types.String `tfsdk:"comment"`
	RemoveHome         types.Bool   `tfsdk:"remove_home"`
	TerminateProcesses types.Bool   `tfsdk:"terminate_processes"`
	UID                types.Int64  `tfsdk:"uid"`
	GID                types.Int64  `tfsdk:"gid"`
	Problems           types.List   `tfsdk:"problems"`
}

func (m sshUserModel) toUser() linux.NewUser {
	return linux.NewUser{
		Name:    m.Username.ValueString(),
		Group:   m.Group.ValueString(),
		Home:    m.Home.ValueString(),
		Shell:   m.Shell.ValueString(),
		Comment: m.Comment.ValueStringPointer(),
	}
}

func (m sshUserModel) object(ctx context.Context, host *sshclient.Host) (object, error) {
	return onSSHHost(ctx, host, object{noun: "SSH user", name: m.Username.ValueString(), typeName: "stitch_ssh_user", key: []string{m.Username.ValueString()}})
}

// fromUser overwrites only what the host reports.
func (m *sshUserModel) fromUser(u linux.User) {
	m.Username = types.StringValue(u.Name)
	m.Group = types.StringValue(u.Group)
	m.Home = types.StringValue(u.Home)
	m.Shell = types.StringValue(u.Shell)
	m.Comment = types.StringValue(u.Comment)
	m.UID, m.GID = types.Int64Value(u.UID), types.Int64Value(u.GID)
	m.Problems = stringList(u.Problems())
}

func (*sshUserResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_ssh_user"
}

// ModifyPlan also plans the gid of a user to stay the same, unless its group changes.
func (r *sshUserResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.onHost.ModifyPlan(ctx, req, resp)
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	planSettled(ctx, req, resp)
	var plan, state sshUserModel
	resp.Diagnostics.Append(resp.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	gid := types.Int64Unknown()
	if plan.Group.Equal(state.Group) {
		gid = state.GID
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("gid"), gid)...)
}

// Create creates the user.
func (r *sshUserResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan sshUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	host, err := r.host(plan.Host.ValueString())
	var user object
	if err == nil {
		user, err = plan.object(ctx, host)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create SSH user", err))
		return
	}
	var created linux.User
	resp.Diagnostics.Append(creation{
		object: user,
		create: func() (err error) {
			created, err = linux.CreateUser(ctx, host, plan.toUser())
			return err
		},
		isExisting: isOnSSHHost,
		adopt: func() (refusals []string, err error) {
			created, refusals, err = linux.AdoptUser(ctx, host, plan.toUser())
			return refusals, err
		},
	}.run(ctx, r.claims)...)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.fromUser(created)
	resp.Diagnostics.Append(plan.settle(ctx, resp.Private)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read reads the user. A user of the same name with another uid is a different one: the provider
// neither changes nor removes it.
func (r *sshUserResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state sshUserModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var found linux.User
	host, err := r.hostToRead(state.Host.ValueString())
	if err == nil {
		found, err = linux.ReadUser(ctx, host, state.Username.ValueString())
	}
	switch {
	case errors.Is(err, linux.ErrNotFound):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.Append(unreadOnHost(ctx, "SSH user", state.Username.ValueString(), state.UID.IsNull(), err))
		return
	case !state.UID.IsNull() && state.UID.ValueInt64() != found.UID:
		resp.Diagnostics.AddWarning("Another user has this name", fmt.Sprintf(
			"The user %q that Terraform created on SSH host %q had the uid %d. It no longer exists, and another user of that name has the uid %d. "+
				"Terraform does not change that user. Rename it or the resource, remove it, or take it over with: terraform import stitch_ssh_user.<label> '%s'",
			found.Name, state.Host.ValueString(), state.UID.ValueInt64(), found.UID, joinID(state.Host.ValueString(), found.Name)))
		resp.State.RemoveResource(ctx)
		return
	}
	state.fromUser(found)
	settled, diags := req.Private.GetKey(ctx, settledKey)
	if resp.Diagnostics.Append(diags...); settled == nil {
		resp.Diagnostics.Append(state.settle(ctx, resp.Private)...)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes what differs, and repairs what would make sshd refuse the user.
func (r *sshUserResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state sshUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var updated linux.User
	host, err := r.host(plan.Host.ValueString())
	if err == nil {
		updated, err = linux.UpdateUser(ctx, host, state.UID.ValueInt64(), plan.toUser())
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update SSH user", err))
		return
	}
	plan.fromUser(updated)
	resp.Diagnostics.Append(plan.settle(ctx, resp.Private)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete removes the user if this provider created it, which its mark on the host shows.
func (r *sshUserResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state sshUserModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	host, err := r.host(state.Host.ValueString())
	var user object
	if err == nil {
		user, err = state.object(ctx, host)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete SSH user", err))
		return
	}
	var done linux.Deletion
	resp.Diagnostics.Append(user.remove(ctx, r.claims, func() error {
		r.closeSessionsOf(state.Username.ValueString())
		done, err = deleteUser(ctx, host, state)
		return err
	})...)
	if resp.Diagnostics.HasError() {
		return
	}
	if done.Kept != "" {
		resp.Diagnostics.AddWarning("SSH user was not deleted", done.Kept+".")
	}
	if done.KeptHome != "" && state.RemoveHome.ValueBool() {
		resp.Diagnostics.AddWarning("Home directory was not deleted", done.KeptHome+".")
	}
}

func deleteUser(ctx context.Context, host *sshclient.Host, state sshUserModel) (linux.Deletion, error) {
	return linux.DeleteUser(ctx, host, state.Username.ValueString(), state.UID.ValueInt64(), linux.DeleteOptions{
		RemoveHome: state.RemoveHome.ValueBool(),
		Force:      state.TerminateProcesses.ValueBool(),
	})
}

// ImportState takes over a user. Destroying the resource does not remove that user.
func (*sshUserResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "host", "username")
	for _, attribute := range []string{"remove_home", "terminate_processes"} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(attribute), false)...)
	}
}

// onSSHHost is an object of an SSH host, whichever entries of the provider block lead to it.
func onSSHHost(ctx context.Context, host *sshclient.Host, o object) (object, error) {
	identity, err := linux.Identify(ctx, host)
	o.on, o.place = fmt.Sprintf("SSH host %q", host.Name()), identity
	o.key = append([]string{host.Name()}, o.key...)
	return o, err
}

// isOnSSHHost reports whether an error says that something exists already on an SSH host.
func isOnSSHHost(err error) bool { return errors.Is(err, linux.ErrExists) }
