package provider

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// settledKey is where the private state keeps what a user was when it was last applied or imported.
// What is not configured must stay that way: a different value on the host is drift.
const settledKey = "settled"

// settledUser holds the attributes that need not be configured, by name.
type settledUser map[string]string

func (m sshUserModel) settled() settledUser {
	return settledUser{
		"group":   m.Group.ValueString(),
		"home":    m.Home.ValueString(),
		"shell":   m.Shell.ValueString(),
		"comment": m.Comment.ValueString(),
	}
}

// settle remembers the attributes of a user.
func (m sshUserModel) settle(ctx context.Context, private privateState) diag.Diagnostics {
	text, err := json.Marshal(m.settled())
	if err != nil {
		return diag.Diagnostics{diagnose("Cannot store SSH user", err)}
	}
	return private.SetKey(ctx, settledKey, text)
}

// planSettled plans for what is not configured the value that was applied last.
func planSettled(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	text, diags := req.Private.GetKey(ctx, settledKey)
	resp.Diagnostics.Append(diags...)
	var settled settledUser
	if text == nil || json.Unmarshal(text, &settled) != nil {
		return // a state that has none keeps what Read found
	}
	for attribute, value := range settled {
		var configured types.String
		resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root(attribute), &configured)...)
		if configured.IsNull() {
			resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(attribute), value)...)
		}
	}
}
