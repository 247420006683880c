package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// destinationDatabaseResource manages a database that data is loaded into.
type destinationDatabaseResource struct{ configured }

var _ resource.ResourceWithImportState = (*destinationDatabaseResource)(nil)

func newDestinationDatabaseResource() managed { return &destinationDatabaseResource{} }

type destinationDatabaseModel struct {
	Server            types.String `tfsdk:"server"`
	Name              types.String `tfsdk:"name"`
	Owner             types.String `tfsdk:"owner"`
	Encoding          types.String `tfsdk:"encoding"`
	LCCollate         types.String `tfsdk:"lc_collate"`
	LCCtype           types.String `tfsdk:"lc_ctype"`
	LocaleProvider    types.String `tfsdk:"locale_provider"`
	ICULocale         types.String `tfsdk:"icu_locale"`
	BuiltinLocale     types.String `tfsdk:"builtin_locale"`
	Template          types.String `tfsdk:"template"`
	ConnectionLimit   types.Int64  `tfsdk:"connection_limit"`
	Comment           types.String `tfsdk:"comment"`
	ForceDestroy      types.Bool   `tfsdk:"force_destroy"`
	TerminateSessions types.Bool   `tfsdk:"terminate_sessions"`
}

// toDatabase replaces unknown values, which are those that are not configured, by PostgreSQL's
// defaults.
func (m destinationDatabaseModel) toDatabase() postgres.Database {
	limit := int64(-1)
	if !m.ConnectionLimit.IsUnknown() && !m.ConnectionLimit.IsNull() {
		limit = m.ConnectionLimit.ValueInt64()
	}
	return postgres.Database{
		Name:            m.Name.ValueString(),
		Owner:           m.Owner.ValueString(),
		Encoding:        m.Encoding.ValueString(),
		LCCollate:       m.LCCollate.ValueString(),
		LCCtype:         m.LCCtype.ValueString(),
		LocaleProvider:  m.LocaleProvider.ValueString(),
		ICULocale:       m.ICULocale.ValueString(),
		BuiltinLocale:   m.BuiltinLocale.ValueString(),
		ConnectionLimit: int(limit),
		Comment:         m.Comment.ValueString(),
	}
}

func (m destinationDatabaseModel) object(server *pgclient.Server) object {
	return inServer(server, object{noun: "destination database", name: m.Name.ValueString(), typeName: "stitch_destination_database", key: []string{m.Name.ValueString()}})
}

// fromDatabase overwrites only what the server reports.
func (m *destinationDatabaseModel) fromDatabase(d postgres.Database) {
	m.Name = types.StringValue(d.Name)
	m.Owner = types.StringValue(d.Owner)
	m.Encoding = types.StringValue(d.Encoding)
	m.LCCollate = types.StringValue(d.LCCollate)
	m.LCCtype = types.StringValue(d.LCCtype)
	m.LocaleProvider = types.StringValue(d.LocaleProvider)
	m.ICULocale = stringOrNull(d.ICULocale)
	m.BuiltinLocale = stringOrNull(d.BuiltinLocale)
	m.ConnectionLimit = types.Int64Value(int64(d.ConnectionLimit))
	m.Comment = types.StringValue(d.Comment)
}

// leftover returns all that is known of a database that should not exist.
func (m destinationDatabaseModel) leftover() destinationDatabaseModel {
	return destinationDatabaseModel{
		Server: m.Server, Name: m.Name, Template: m.Template, ForceDestroy: m.ForceDestroy, TerminateSessions: m.TerminateSessions,
	}
}

func stringOrNull(text string) types.String {
	if text == "" {
		return types.StringNull()
	}
	return types.StringValue(text)
}

func (*destinationDatabaseResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_destination_database"
}

// ModifyPlan replaces the database when an attribute changes that PostgreSQL cannot change, and
// says what that means.
func (r *destinationDatabaseResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.configured.ModifyPlan(ctx, req, resp)
	resp.Diagnostics.Append(r.warnOfRemoval(ctx, req)...)
	if req.Plan.Raw.IsNull() || req.State.Raw.IsNull() || resp.Diagnostics.HasError() {
		return
	}
	var plan, state destinationDatabaseModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	fixed := plan.fixed(state)
	if resp.Diagnostics.HasError() || len(fixed) == 0 {
		return
	}
	for _, attribute := range fixed {
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root(attribute))
	}
	follows := "If the database holds tables, the apply refuses to drop it."
	if state.ForceDestroy.ValueBool() {
		follows = "force_destroy is set: all tables in the database will be lost."
	}
	resp.Diagnostics.AddWarning(fmt.Sprintf("Replacing drops the database %q", state.Name.ValueString()),
		fmt.Sprintf("PostgreSQL cannot change %s of an existing database. The plan drops the database and creates an empty one. %s", strings.Join(fixed, ", "), follows))
}

// fixed returns the attributes that cannot be changed and in which a plan differs from the state. A
// value that is unknown on either side replaces nothing: the template of an imported database, for
// example.
func (m destinationDatabaseModel) fixed(state destinationDatabaseModel) []string {
	var names []string
	for _, a := range []struct {
		name        string
		plan, state types.String
	}{
		{"name", m.Name, state.Name},
		{"encoding", m.Encoding, state.Encoding},
		{"lc_collate", m.LCCollate, state.LCCollate},
		{"lc_ctype", m.LCCtype, state.LCCtype},
		{"locale_provider", m.LocaleProvider, state.LocaleProvider},
		{"icu_locale", m.ICULocale, state.ICULocale},
		{"builtin_locale", m.BuiltinLocale, state.BuiltinLocale},
		{"template", m.Template, state.Template},
	} {
		if a.plan.IsUnknown() || a.plan.IsNull() || a.state.IsNull() || a.plan.Equal(a.state) {
			continue
		}
		names = append(names, a.name)
	}
	return names
}

// Create creates the database.
func (r *destinationDatabaseResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan destinationDatabaseModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create destination database", err))
		return
	}
	var database postgres.Database
	resp.Diagnostics.Append(creation{
		object: plan.object(server),
		create: func() (err error) {
			database, err = postgres.CreateDatabase(ctx, server, plan.toDatabase(), plan.Template.ValueString())
			return err
		},
		isExisting: pgclient.IsExisting,
		adopt: func() (refusals []string, err error) {
			database, refusals, err = postgres.AdoptDatabase(ctx, server, plan.toDatabase(), plan.Template.ValueString())
			return refusals, err
		},
	}.run(ctx, r.claims)...)
	if resp.Diagnostics.HasError() {
		if database.Name != "" {
			resp.Diagnostics.Append(resp.State.Set(ctx, plan.leftover())...)
		}
		return
	}
	plan.fromDatabase(database)
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read reads the database without connecting to it.
func (r *destinationDatabaseResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state destinationDatabaseModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var database postgres.Database
	server, err := r.serverToRead(state.Server.ValueString())
	if err == nil {
		database, err = postgres.ReadDatabase(ctx, server, state.Name.ValueString())
	}
	if errors.Is(err, pgclient.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(unread("destination database", state.Name.ValueString(), state.Owner.IsNull(), err))
		return
	}
	if database.IsInvalid() {
		resp.Diagnostics.AddWarning("Invalid destination database", fmt.Sprintf(
			"An attempt to drop the database %q was interrupted. No session can connect to it, and its contents are lost. Replace or destroy it.", database.Name))
	}
	r.claims.markInState(state.object(server))
	state.fromDatabase(database)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes what PostgreSQL can change about a database.
func (r *destinationDatabaseResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan destinationDatabaseModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(plan.Server.ValueString(), &resp.Diagnostics)
	if err == nil {
		err = postgres.UpdateDatabase(ctx, server, plan.toDatabase())
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot update destination database", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// warnOfRemoval names the tables that go with a database that the plan removes, or that prevent the
// removal.
func (r *destinationDatabaseResource) warnOfRemoval(ctx context.Context, req resource.ModifyPlanRequest) diag.Diagnostics {
	model, is := removed(ctx, req, r.claims, r.objectOf)
	if !is {
		return nil
	}
	server, err := r.serverToRead(model.Server.ValueString())
	if err != nil {
		return nil // Read has reported it
	}
	losses, err := postgres.Losses(ctx, server, model.Name.ValueString(), "")
	if err != nil {
		return nil // the destroy reports it
	}
	return takesTables(model.object(server), losses, model.ForceDestroy.ValueBool())
}

func (r *destinationDatabaseResource) objectOf(model destinationDatabaseModel) (object, bool) {
	server, err := r.serverToRead(model.Server.ValueString())
	if err != nil {
		return object{}, false
	}
	return model.object(server), true
}

// Delete drops the database.
func (r *destinationDatabaseResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state destinationDatabaseModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	server, err := r.serverToChange(state.Server.ValueString(), &resp.Diagnostics)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete destination database", err))
		return
	}
	resp.Diagnostics.Append(state.object(server).remove(ctx, r.claims, func() error {
		return postgres.DropDatabase(ctx, server, state.Name.ValueString(), postgres.DatabaseDrop{
			Tables: state.ForceDestroy.ValueBool(), Sessions: state.TerminateSessions.ValueBool(),
		})
	})...)
}

// ImportState takes over a database. A destroy then drops it with its tables only if that is
// configured.
func (*destinationDatabaseResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "server", "name")
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("force_destroy"), false)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("terminate_sessions"), false)...)
}
