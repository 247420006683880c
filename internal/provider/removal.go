package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// removed returns the model of an object that a plan removes, either because its resource is
// destroyed or because another resource replaces it. Terraform plans a tainted resource as a new
// one. It does the same for -replace, but then drops the warnings.
func removed[M any](ctx context.Context, req resource.ModifyPlanRequest, claims *claims, objectOf func(M) (object, bool)) (M, bool) {
	var state, plan M
	hasState, hasPlan := !req.State.Raw.IsNull(), !req.Plan.Raw.IsNull()
	if hasState && req.State.Get(ctx, &state).HasError() || hasPlan && req.Plan.Get(ctx, &plan).HasError() {
		return state, false
	}
	if !hasPlan {
		return state, hasState
	}
	after, ok := objectOf(plan)
	if !hasState {
		return plan, ok && claims.isInState(after)
	}
	before, okBefore := objectOf(state)
	return state, ok && okBefore && before.id() != after.id()
}

// takesTables says which tables go with the object that holds them, or that they prevent its
// removal.
func takesTables(o object, losses []string, force bool) (diags diag.Diagnostics) {
	if len(losses) == 0 {
		return nil
	}
	const shown = 20
	lines := "- " + strings.Join(losses[:min(len(losses), shown)], "\n- ")
	if more := len(losses) - shown; more > 0 {
		lines += fmt.Sprintf("\n- and %d more", more)
	}
	if force {
		diags.AddWarning(fmt.Sprintf("Removing %s %q removes its tables", o.noun, o.name),
			fmt.Sprintf("The plan removes it from %s together with everything that it holds now:\n%s", o.on, lines))
		return diags
	}
	diags.AddWarning(fmt.Sprintf("Removing %s %q will be refused", o.noun, o.name),
		fmt.Sprintf("It holds tables on %s:\n%s\n\nUnless they are gone by then, for instance because a replication with force_destroy dropped them, it is not removed. "+
			"To remove it together with everything that it holds, first set force_destroy = true and apply only that.", o.on, lines))
	return diags
}
