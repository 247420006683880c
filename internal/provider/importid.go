package provider

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// joinID makes an id from a natural key: its parts, percent-encoded, joined by slashes.
func joinID(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, part := range parts {
		escaped[i] = url.PathEscape(part)
	}
	return strings.Join(escaped, "/")
}

// splitID reads an id with as many parts as there are names. The names describe the parts in
// errors.
func splitID(id string, names ...string) ([]string, error) {
	parts := strings.Split(id, "/")
	if len(parts) != len(names) {
		return nil, fmt.Errorf("the id %q has %d parts, but needs %d: %s (write a slash within a part as %%2F)",
			id, len(parts), len(names), strings.Join(names, "/"))
	}
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil {
			return nil, fmt.Errorf("the id %q is not correctly percent-encoded: %w", id, err)
		}
		if text == "" {
			return nil, fmt.Errorf("the id %q has an empty %s", id, names[i])
		}
		parts[i] = text
	}
	return parts, nil
}

// importByID sets one string attribute for each part of the id that the user gave.
func importByID(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse, attributes ...string) {
	parts, err := splitID(req.ID, attributes...)
	if err != nil {
		resp.Diagnostics.Append(diag.NewErrorDiagnostic("Cannot read the import id", err.Error()))
		return
	}
	for i, attribute := range attributes {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(attribute), parts[i])...)
	}
}
