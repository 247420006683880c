package provider

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// withoutZeroByte refuses text with a zero byte, which PostgreSQL accepts in no text. Its message
// does not repeat the text.
type withoutZeroByte struct{}

func (withoutZeroByte) Description(context.Context) string { return "must not contain a zero byte" }

func (v withoutZeroByte) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v withoutZeroByte) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if strings.ContainsRune(req.ConfigValue.ValueString(), 0) {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", "The value "+v.Description(ctx)+".")
	}
}

// validInstant refuses what is neither an instant nor infinity.
type validInstant struct{}

func (validInstant) Description(context.Context) string {
	return "must be infinity or a time in RFC 3339 format"
}

func (v validInstant) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validInstant) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := postgres.CheckValidUntil(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid instant", err.Error())
	}
}

// sameInstant plans no change for another spelling of the same instant.
type sameInstant struct{}

func (sameInstant) Description(context.Context) string { return "compared as an instant" }

func (v sameInstant) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (sameInstant) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.PlanValue.IsNull() || req.PlanValue.IsUnknown() || req.StateValue.IsNull() {
		return
	}
	if postgres.SameValidUntil(req.PlanValue.ValueString(), req.StateValue.ValueString()) {
		resp.PlanValue = req.StateValue
	}
}

// validParameters refuses names and values that no parameter can have.
type validParameters struct{}

func (validParameters) Description(context.Context) string {
	return "must be names and values of parameters"
}

func (v validParameters) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validParameters) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	elements := req.ConfigValue.Elements()
	names := slices.Sorted(maps.Keys(elements))
	if err := postgres.CheckParameters(names); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid parameters", err.Error())
	}
	for _, name := range names {
		err := postgres.CheckParameterName(name)
		value, ok := elements[name].(types.String)
		switch {
		case err != nil:
		case !ok || value.IsUnknown():
		case value.IsNull():
			err = errors.New("the value of " + name + " is null: remove the parameter, or set it to an empty string")
		default:
			err = postgres.CheckParameterValue(name, value.ValueString())
		}
		if err != nil {
			resp.Diagnostics.AddAttributeError(req.Path.AtMapKey(name), "Invalid parameter", err.Error())
		}
	}
}
