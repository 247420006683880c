package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// importedKey is where the private state records that an object was imported: Terraform did not
// create it, and a plan that drops it says so.
const importedKey = "imported"

// ImportState also remembers that the object was imported.
func (l *located) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	l.managed.ImportState(ctx, req, resp)
	if !resp.Diagnostics.HasError() && l.place.dropped != "" {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, []byte("true"))...)
	}
}

// isImported reports whether the object is remembered as imported.
func isImported(ctx context.Context, private privateState) bool {
	text, _ := private.GetKey(ctx, importedKey)
	return string(text) == "true"
}

// forgetImport records that Terraform has created the object, in place of the imported one.
func forgetImport(ctx context.Context, private privateState) (diags diag.Diagnostics) {
	if isImported(ctx, private) {
		return private.SetKey(ctx, importedKey, []byte("false"))
	}
	return nil
}

// importedInWalk is the key of an imported object in the walk, for a plan that no longer has a
// state of it.
func (l *located) importedInWalk(ctx context.Context, of attributes) string {
	return importedKey + "\x00" + l.key(ctx, of)
}

// dropsImported warns that a plan drops an object that Terraform did not create.
func (l *located) dropsImported(ctx context.Context, of attributes) (diags diag.Diagnostics) {
	var named resource.MetadataResponse
	l.managed.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "stitch"}, &named)
	noun := strings.ReplaceAll(strings.TrimPrefix(named.TypeName, "stitch_"), "_", " ")
	diags.AddWarning(fmt.Sprintf("%s %q was imported", capital(noun), text(ctx, of, l.place.dropped)), fmt.Sprintf(
		"Terraform did not create it on %s %q, and others may need it. This plan drops it nevertheless. "+
			"To keep it, make Terraform forget it instead: use a removed block with destroy = false, or terraform state rm.",
		l.place.attribute, l.place.entry(ctx, of)))
	return diags
}
