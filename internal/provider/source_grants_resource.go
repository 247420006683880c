package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// sourceGrantsResource manages what a user may read in a database.
type sourceGrantsResource struct{ configured }

var (
	_ resource.ResourceWithImportState    = (*sourceGrantsResource)(nil)
	_ resource.ResourceWithValidateConfig = (*sourceGrantsResource)(nil)
)

func newSourceGrantsResource() resource.Resource { return &sourceGrantsResource{} }

type sourceGrantsModel struct {
	Server       types.String `tfsdk:"server"`
	Database     types.String `tfsdk:"database"`
	User         types.String `tfsdk:"user"`
	Schemas      types.Set    `tfsdk:"schemas"`
	Tables       types.Set    `tfsdk:"tables"`
	FutureTables types.Bool   `tfsdk:"future_tables"`
	Missing      types.List   `tfsdk:"missing"`
	Excess       types.List   `tfsdk:"excess"`
}

func (m sourceGrantsModel) toGrants() (postgres.SourceGrants, error) {
	schemas, _ := setStrings(m.Schemas)
	g := postgres.SourceGrants{
		Database:     m.Database.ValueString(),
		User:         m.User.ValueString(),
		Schemas:      schemas,
		FutureTables: m.FutureTables.ValueBool(),
	}
	tables, _ := setStrings(m.Tables)
	for _, text := range tables {
		table, err := postgres.ParseTableName(text)
		if err != nil {
			return postgres.SourceGrants{}, err
		}
		g.Tables = append(g.Tables, table)
	}
	return g, nil
}

func (*sourceGrantsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_source_grants"
}

func (*sourceGrantsResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Lets a database user read schemas of a source database, which is what Stitch needs to replicate from it: " +
			"`CONNECT` on the database, `USAGE` on the schemas, and `SELECT` on their tables, partitions, views, materialized views and foreign tables. " +
			"Nothing else is granted, and rights that the user has beyond that are left alone, but not the option to pass these on. Tables and views that belong to an extension are left out, unless `tables` lists them.\n\n" +
			"A table or view on which the right was revoked, or that was created without it, appears in `missing` and is granted by the next apply. " +
			"Destroying the resource takes its schemas' rights back, and `CONNECT` when the user was granted nothing else in the database.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"database": schema.StringAttribute{
				MarkdownDescription: "Database to read from. Changing it creates new grants. " +
					"Refer to this attribute from the replication, so that the grants exist before it and go after it.",
				Required:      true,
				Validators:    []validator.String{validName()},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"user": schema.StringAttribute{
				MarkdownDescription: "Name of the database user that is to read. Changing it creates new grants.",
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
				MarkdownDescription: "Tables, views, materialized views and foreign tables to read, when it should not be all of the schemas: as `schema.table`, " +
					"spelled as PostgreSQL stores the names; a name that holds a dot itself is written in double quotes. " +
					"Each must exist, in one of `schemas`. A partitioned table is enough for reading its partitions through it.",
				ElementType: types.StringType,
				Optional:    true,
				Validators:  []validator.Set{setvalidator.SizeAtLeast(1)},
			},
			"future_tables": schema.BoolAttribute{
				MarkdownDescription: "Whether the user may also read what is created in the schemas later (`ALTER DEFAULT PRIVILEGES`): " +
					"by each role that owns tables or views there now, by the schema's owner as far as the login of `server` may act for it, and by that login. " +
					"A role that creates its first table later appears in `missing`. " +
					"`true` by default; with `tables`, which lists all that may be read, it is `false` and cannot be set to `true`.",
				Optional:      true,
				Computed:      true,
				PlanModifiers: []planmodifier.Bool{futureTablesDefault{}},
			},
			"missing": missingAttribute("SELECT ON TABLE public.orders"),
			"excess":  excessAttribute(),
		},
	}
}

// ValidateConfig checks what is known of the configuration.
func (*sourceGrantsResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config sourceGrantsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(checkTables(config)...)
	if !config.Tables.IsNull() && !config.Tables.IsUnknown() && config.FutureTables.ValueBool() {
		resp.Diagnostics.AddAttributeError(path.Root("future_tables"), "tables and future_tables exclude each other",
			"tables lists all that the user may read, future_tables would add every table that is created later. "+
				"Remove future_tables, or remove tables to grant whole schemas.")
	}
}

func checkTables(config sourceGrantsModel) (diags diag.Diagnostics) {
	schemas, whole := setStrings(config.Schemas)
	tables, _ := setStrings(config.Tables)
	for _, text := range tables {
		at := path.Root("tables").AtSetValue(types.StringValue(text))
		table, err := postgres.ParseTableName(text)
		switch {
		case err != nil:
			diags.AddAttributeError(at, "Not the name of a table", err.Error())
		case whole && !slices.Contains(schemas, table.Schema):
			diags.AddAttributeError(at, "The table lies in none of the schemas",
				fmt.Sprintf("%s is in schema %q, which schemas does not list: without USAGE on it, the table could not be read.", text, table.Schema))
		}
	}
	return diags
}

// futureTablesDefault makes future_tables true, but false if tables are listed.
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

// Create grants.
func (r *sourceGrantsResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan sourceGrantsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create source grants", err))
		return
	}
	grants, err := plan.toGrants()
	if err == nil {
		err = server.GrantSource(ctx, grants)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create source grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read looks up what is missing.
func (r *sourceGrantsResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state sourceGrantsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToRead(state.Server.ValueString())
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot read source grants", err))
		return
	}
	grants, err := state.toGrants()
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot read source grants", err))
		return
	}
	drift, err := server.SourceDrift(ctx, grants)
	if errors.Is(err, postgres.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(unread("source grants", state.Database.ValueString(), false, err))
		return
	}
	state.Missing, state.Excess = stringList(drift.Missing), stringList(drift.Excess)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update grants what is missing and takes back what is not configured any more.
func (r *sourceGrantsResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state sourceGrantsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update source grants", err))
		return
	}
	old, errOld := state.toGrants()
	grants, errNew := plan.toGrants()
	if err := errors.Join(errOld, errNew); err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update source grants", err))
		return
	}
	if err := server.UpdateSource(ctx, old, grants); err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update source grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete takes the grants back.
func (r *sourceGrantsResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state sourceGrantsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(state.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete source grants", err))
		return
	}
	grants, err := state.toGrants()
	if err == nil {
		err = server.RevokeSource(ctx, grants)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete source grants", err))
	}
}

// ImportState reads the schemas that the user was granted. Which of their tables
// it should read, only a configuration can tell: all is assumed.
func (r *sourceGrantsResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id, err := splitID(req.ID, "server", "database", "user")
	if err != nil {
		resp.Diagnostics.AddError("Cannot read the import id", err.Error())
		return
	}
	server, err := r.serverToRead(id[0])
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot import source grants", err))
		return
	}
	grants, err := server.SourceGrants(ctx, id[1], id[2])
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot import source grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, sourceGrantsModel{
		Server:       types.StringValue(id[0]),
		Database:     types.StringValue(grants.Database),
		User:         types.StringValue(grants.User),
		Schemas:      stringSet(grants.Schemas),
		Tables:       types.SetNull(types.StringType),
		FutureTables: types.BoolValue(grants.FutureTables),
		Missing:      stringList(nil),
		Excess:       stringList(nil),
	})...)
}
