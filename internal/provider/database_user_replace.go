package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// A user that a user of the same name replaces, because it is tainted or because of -replace, keeps
// its grants and what it owns: the resources of its grants do not change, and Terraform does not
// ask about them. The provider drops the user only if nothing depends on it.

// replacesKey is where the private state of a plan records that the plan replaces the user by one
// of the same name. Terraform hands the private state to the deletion.
const replacesKey = "replaces"

// planReplacement notes that a plan creates a user that the state already has.
func (r *databaseUserResource) planReplacement(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var plan databaseUserModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	server, err := r.serverToRead(plan.Server.ValueString())
	if err == nil && !plan.Name.IsUnknown() && r.claims.isInState(plan.object(server)) {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, replacesKey, []byte("true"))...)
	}
}

func isReplacement(ctx context.Context, private privateState) bool {
	text, _ := private.GetKey(ctx, replacesKey)
	return string(text) == "true"
}

// endReplacement makes a later deletion an ordinary one.
func endReplacement(ctx context.Context, private privateState) (diags diag.Diagnostics) {
	if isReplacement(ctx, private) {
		return private.SetKey(ctx, replacesKey, []byte("false"))
	}
	return nil
}

// dropReplaced drops a user that is replaced. A user that it leaves in place gets the attributes of
// the configuration in the same apply.
func (r *databaseUserResource) dropReplaced(ctx context.Context, server *pgclient.Server, state databaseUserModel, diags *diag.Diagnostics) error {
	err := postgres.DropUser(ctx, server, state.Name.ValueString(), postgres.DropOptions{TerminateSessions: state.TerminateSessions.ValueBool()})
	var dependents *postgres.DependentsError
	if !errors.As(err, &dependents) {
		return err
	}
	r.claims.markLeft(state.object(server))
	diags.AddWarning(fmt.Sprintf("Database user %q was not dropped", state.Name.ValueString()),
		"A user of the same name replaces it, but it owns objects or holds privileges. The provider therefore keeps the user with all of them, and sets the attributes and the password of the configuration.")
	return nil
}
