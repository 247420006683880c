package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

func (*sourceGrantsResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Lets a database user read schemas of a source database, which is what Stitch needs to replicate from it: " +
			"`CONNECT` on the database, `USAGE` on the schemas, and `SELECT` on their tables, partitions, views, materialized views and foreign tables, or on `columns` of them. " +
			"Other privileges of the user are left unchanged, except that grant options on these are revoked. Tables and views that belong to an extension are left out, unless `tables` lists them.\n\n" +
			"Use one resource for each user and schema. If two grant the same rights and one is destroyed or narrowed, the other loses these rights, unless both change in one apply, as when one is renamed or a schema moves between them. A plan warns if it sees two.\n\n" +
			"A table or view on which the right was revoked, or that was created without it, appears in `missing` and is granted by the next apply. " +
			"Destroying the resource revokes the rights on its schemas, and `CONNECT` if the user was granted nothing else in the database. Privileges on columns that another role granted stay.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"database": schema.StringAttribute{
				MarkdownDescription: "Database to read from. Changing it creates new grants. " +
					"Refer to this attribute from the replication: the grants then exist before the replication and are destroyed after it.",
				Required:      true,
				Validators:    []validator.String{validName()},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"user": schema.StringAttribute{
				MarkdownDescription: "Name of the database user that reads. Changing it creates new grants.",
				Required:            true,
				Validators:          []validator.String{validName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"schemas": schema.SetAttribute{
				MarkdownDescription: "Schemas to read, which must exist.",
				ElementType:         types.StringType,
				Required:            true,
				Validators:          []validator.Set{setvalidator.SizeAtLeast(1), setvalidator.ValueStringsAre(validSourceSchema())},
			},
			"tables": schema.SetAttribute{
				MarkdownDescription: "Tables, views, materialized views and foreign tables to read, instead of everything in `schemas`: as `schema.table`, " +
					"spelled as PostgreSQL stores the names; a name that itself holds a dot is written in double quotes. Each must exist.",
				ElementType: types.StringType,
				Optional:    true,
			},
			"columns": columnsAttribute(),
			"future_tables": schema.BoolAttribute{
				MarkdownDescription: "Whether the user can also read what is created in the schemas later (`ALTER DEFAULT PRIVILEGES`); `true` by default, and always `false` with `tables`. " +
					"See [tables to come](../guides/users-and-grants.md#tables-to-come).",
				Optional:      true,
				Computed:      true,
				PlanModifiers: []planmodifier.Bool{futureTablesDefault{}},
			},
			"missing": missingAttribute("SELECT ON TABLE public.orders"),
			"excess":  excessAttribute(", or read the whole of a table of which `columns` lists only some"),
		},
	}
}

func columnsAttribute() schema.MapAttribute {
	return schema.MapAttribute{
		MarkdownDescription: "Columns of a table that the user can read, so that other columns, such as those with secrets, stay hidden: `{ \"public.customers\" = [\"id\", \"name\"] }`. " +
			"The keys are written as in `tables`, which must not list the same ones. See [some columns of a table](../guides/users-and-grants.md#some-columns-of-a-table).",
		ElementType: types.SetType{ElemType: types.StringType},
		Optional:    true,
		Validators: []validator.Map{
			mapvalidator.SizeAtLeast(1),
			mapvalidator.ValueSetsAre(setvalidator.SizeAtLeast(1), setvalidator.ValueStringsAre(validName())),
		},
	}
}

// ValidateConfig checks those parts of the configuration that are known.
func (*sourceGrantsResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config sourceGrantsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(checkTables(config)...)
	resp.Diagnostics.Append(checkColumns(config)...)
	if !config.Tables.IsNull() && !config.Tables.IsUnknown() && len(config.Tables.Elements()) == 0 && config.Columns.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("tables"), "No table is listed",
			"With tables = [], only columns are granted, and none are listed. List at least one table, or remove tables to grant whole schemas.")
	}
	if !config.Tables.IsNull() && !config.Tables.IsUnknown() && config.FutureTables.ValueBool() {
		resp.Diagnostics.AddAttributeError(path.Root("future_tables"), "tables and future_tables exclude each other",
			"tables lists everything that the user can read, but future_tables would add every table that is created later. "+
				"Remove future_tables, or remove tables to grant whole schemas.")
	}
}

func checkTables(config sourceGrantsModel) (diags diag.Diagnostics) {
	schemas, whole := setStrings(config.Schemas)
	tables, _ := setStrings(config.Tables)
	for _, text := range tables {
		at := path.Root("tables").AtSetValue(types.StringValue(text))
		table, err := relation.ParseTableName(text)
		switch {
		case err != nil:
			diags.AddAttributeError(at, "Not the name of a table", err.Error())
		case whole && !slices.Contains(schemas, table.Schema):
			diags.AddAttributeError(at, "The table is in none of the schemas",
				fmt.Sprintf("%s is in schema %q, which schemas does not list. Without USAGE on that schema, the user could not read the table.", text, table.Schema))
		}
	}
	return diags
}

func checkColumns(config sourceGrantsModel) (diags diag.Diagnostics) {
	schemas, whole := setStrings(config.Schemas)
	tables, _ := setStrings(config.Tables)
	for text := range config.Columns.Elements() {
		at := path.Root("columns").AtMapKey(text)
		table, err := relation.ParseTableName(text)
		switch {
		case err != nil:
			diags.AddAttributeError(at, "Not the name of a table", err.Error())
		case whole && !slices.Contains(schemas, table.Schema):
			diags.AddAttributeError(at, "The table is in none of the schemas",
				fmt.Sprintf("%s is in schema %q, which schemas does not list. Without USAGE on that schema, the user could not read the table.", text, table.Schema))
		case slices.ContainsFunc(tables, func(other string) bool {
			same, err := relation.ParseTableName(other)
			return err == nil && same == table
		}):
			diags.AddAttributeError(at, "The table is listed twice",
				fmt.Sprintf("tables grants the whole of %s, but columns grants only some of its columns. Remove it from one of the two.", text))
		}
	}
	return diags
}

// futureTablesDefault sets future_tables to true, or to false if tables are listed.
type futureTablesDefault struct{}

func (futureTablesDefault) Description(context.Context) string {
	return "true by default, false if tables are listed"
}

func (d futureTablesDefault) MarkdownDescription(ctx context.Context) string {
	return d.Description(ctx)
}

func (futureTablesDefault) PlanModifyBool(ctx context.Context, req planmodifier.BoolRequest, resp *planmodifier.BoolResponse) {
	if !req.ConfigValue.IsNull() {
		return
	}
	var tables types.Set
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("tables"), &tables)...)
	if tables.IsUnknown() {
		resp.PlanValue = types.BoolUnknown()
		return
	}
	resp.PlanValue = types.BoolValue(tables.IsNull())
}
