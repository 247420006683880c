package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
)

// validName refuses what can not be the name of anything in PostgreSQL.
type validName struct{}

func (validName) Description(context.Context) string { return "must be a name of 1 to 63 bytes" }

func (v validName) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validName) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	validateString(req, resp, postgres.CheckName)
}

// validSchemaName refuses the names of schemas that can not be created.
type validSchemaName struct{}

func (validSchemaName) Description(context.Context) string {
	return "must be a name of 1 to 63 bytes, and neither public nor one that PostgreSQL or this provider reserves"
}

func (v validSchemaName) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validSchemaName) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	validateString(req, resp, postgres.CheckSchemaName)
}

// validReader refuses what can not be a reader.
type validReader struct{}

func (validReader) Description(context.Context) string {
	return "must be a name of 1 to 63 bytes, and not public"
}

func (v validReader) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validReader) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	validateString(req, resp, replication.CheckReader)
}

// validateString applies check to a value that is known.
func validateString(req validator.StringRequest, resp *validator.StringResponse, check func(string) error) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", err.Error())
	}
}

// validText refuses empty text, and what PostgreSQL can not store.
type validText struct{}

func (validText) Description(context.Context) string { return "must be text that is not empty" }

func (v validText) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validText) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	validateString(req, resp, func(text string) error {
		if text == "" {
			return errors.New("it is empty: leave it out")
		}
		return postgres.CheckText(text)
	})
}

// validComment refuses what PostgreSQL can not store.
type validComment struct{}

func (validComment) Description(context.Context) string { return "must hold no zero byte" }

func (v validComment) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validComment) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	validateString(req, resp, postgres.CheckText)
}
