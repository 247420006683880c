package provider

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// sourceGrantsResource manages what a user may read in a database.
type sourceGrantsResource struct{ configured }

var (
	_ resource.ResourceWithImportState    = (*sourceGrantsResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*sourceGrantsResource)(nil)
	_ resource.ResourceWithValidateConfig = (*sourceGrantsResource)(nil)
)

func newSourceGrantsResource() managed { return &sourceGrantsResource{} }

type sourceGrantsModel struct {
	Server       types.String `tfsdk:"server"`
	Database     types.String `tfsdk:"database"`
	User         types.String `tfsdk:"user"`
	Schemas      types.Set    `tfsdk:"schemas"`
	Tables       types.Set    `tfsdk:"tables"`
	Columns      types.Map    `tfsdk:"columns"`
	FutureTables types.Bool   `tfsdk:"future_tables"`
	Missing      types.List   `tfsdk:"missing"`
	Excess       types.List   `tfsdk:"excess"`
}

func (m sourceGrantsModel) toGrants(id string) (privilege.SourceGrants, error) {
	schemas, _ := setStrings(m.Schemas)
	g := privilege.SourceGrants{
		Resource:     id,
		Database:     m.Database.ValueString(),
		User:         m.User.ValueString(),
		Schemas:      schemas,
		FutureTables: m.FutureTables.ValueBool(),
	}
	tables, _ := setStrings(m.Tables)
	if !m.Tables.IsNull() {
		g.Tables = []relation.TableName{} // only these, even if there are none
	}
	for _, text := range tables {
		table, err := relation.ParseTableName(text)
		if err != nil {
			return privilege.SourceGrants{}, err
		}
		g.Tables = append(g.Tables, table)
	}
	columns := m.Columns.Elements()
	for _, text := range slices.Sorted(maps.Keys(columns)) {
		table, err := relation.ParseTableName(text)
		if err != nil {
			return privilege.SourceGrants{}, err
		}
		set, _ := columns[text].(types.Set)
		names, _ := setStrings(set)
		slices.Sort(names)
		g.Columns = append(g.Columns, privilege.TableColumns{Table: table, Columns: names})
	}
	return g, nil
}

// columnsMap returns the columns as the attribute has them, null if there are none.
func columnsMap(all []privilege.TableColumns) types.Map {
	of := types.SetType{ElemType: types.StringType}
	if len(all) == 0 {
		return types.MapNull(of)
	}
	values := make(map[string]attr.Value, len(all))
	for _, c := range all {
		values[c.Table.String()] = stringSet(c.Columns)
	}
	return types.MapValueMust(of, values)
}

func (*sourceGrantsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_source_grants"
}

// ModifyPlan warns of two resources that grant the same.
func (r *sourceGrantsResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.configured.ModifyPlan(ctx, req, resp)
	r.checkGrants(ctx, req, resp, func(from values) (grantsOf, diag.Diagnostics) {
		var m sourceGrantsModel
		diags := from.Get(ctx, &m)
		of := grantsOf{server: m.Server.ValueString(), database: m.Database.ValueString(), user: m.User.ValueString()}
		if g, err := m.toGrants(""); err == nil && !m.Tables.IsUnknown() && !m.Columns.IsUnknown() {
			of.items = g.Reads()
		}
		return of, diags
	})
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
	id, diags := newGrantsID(ctx, resp.Private)
	resp.Diagnostics.Append(diags...)
	grants, err := plan.toGrants(id)
	if err == nil {
		err = privilege.GrantSource(ctx, server, grants)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create source grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read reads which grants are missing.
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
	id, diags := grantsIDOf(ctx, resp.Private)
	resp.Diagnostics.Append(diags...)
	grants, err := state.toGrants(id)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot read source grants", err))
		return
	}
	drift, err := privilege.SourceDrift(ctx, server, grants)
	if errors.Is(err, pgclient.ErrNotFound) {
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

// Update grants what is missing and revokes what is no longer configured.
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
	id, diags := grantsIDOf(ctx, resp.Private)
	resp.Diagnostics.Append(diags...)
	old, errOld := state.toGrants(id)
	grants, errNew := plan.toGrants(id)
	if err := errors.Join(errOld, errNew); err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update source grants", err))
		return
	}
	if err := privilege.UpdateSource(ctx, server, old, grants); err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update source grants", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Delete revokes the grants.
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
	id, diags := readGrantsID(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	grants, err := state.toGrants(id)
	if err == nil {
		err = privilege.RevokeSource(ctx, server, grants)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete source grants", err))
	}
}

// ImportState reads the schemas that the user was granted, and the columns of tables on which it
// was granted only some. Only a configuration can say which of the other tables the user should
// read: ImportState assumes all.
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
	grants, err := privilege.ReadSourceGrants(ctx, server, id[1], id[2])
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
		Columns:      columnsMap(grants.Columns),
		FutureTables: types.BoolValue(grants.FutureTables),
		Missing:      stringList(nil),
		Excess:       stringList(nil),
	})...)
}
