package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// importedKey is where the private state keeps that something was imported: Terraform did
// not create it, and a plan that drops it says so.
const importedKey = "imported"

// ImportState also remembers that it was imported.
func (l *located) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	l.managed.ImportState(ctx, req, resp)
	if !resp.Diagnostics.HasError() && l.place.dropped != "" {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, []byte("true"))...)
	}
}

// isImported reports whether that is remembered.
func isImported(ctx context.Context, private privateState) bool {
	text, _ := private.GetKey(ctx, importedKey)
	return string(text) == "true"
}

// forgetImport remembers that it was created in the place of what was imported.
func forgetImport(ctx context.Context, private privateState) (diags diag.Diagnostics) {
	if isImported(ctx, private) {
		return private.SetKey(ctx, importedKey, []byte("false"))
	}
	return nil
}

// importedInWalk is how what was imported is known in a plan that has no state of it any more.
func (l *located) importedInWalk(ctx context.Context, of attributes) string {
	return importedKey + "\x00" + l.key(ctx, of)
}

// dropsImported says that a plan drops what Terraform did not create.
func (l *located) dropsImported(ctx context.Context, of attributes) (diags diag.Diagnostics) {
	var named resource.MetadataResponse
	l.managed.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "stitch"}, &named)
	noun := strings.ReplaceAll(strings.TrimPrefix(named.TypeName, "stitch_"), "_", " ")
	diags.AddWarning(fmt.Sprintf("%s %q was imported", capital(noun), text(ctx, of, l.place.dropped)), fmt.Sprintf(
		"Terraform did not create it on %s %q, and others may need it; this plan drops it nevertheless. "+
			"To keep it, forget it instead: with a removed block that has destroy = false, or by terraform state rm.",
		l.place.attribute, l.place.entry(ctx, of)))
	return diags
}
