package provider

import (
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

type databaseUserModel struct {
	Server             types.String `tfsdk:"server"`
	Name               types.String `tfsdk:"name"`
	PasswordWO         types.String `tfsdk:"password_wo"`
	PasswordWOVersion  types.Int64  `tfsdk:"password_wo_version"`
	PasswordEncryption types.String `tfsdk:"password_encryption"`
	ConnectionLimit    types.Int64  `tfsdk:"connection_limit"`
	ValidUntil         types.String `tfsdk:"valid_until"`
	Replication        types.Bool   `tfsdk:"replication"`
	BypassRLS          types.Bool   `tfsdk:"bypass_rls"`
	Roles              types.Set    `tfsdk:"roles"`
	Excess             types.List   `tfsdk:"excess"`
	Parameters         types.Map    `tfsdk:"parameters"`
	Login              types.Bool   `tfsdk:"login"`
	ReassignOwnedTo    types.String `tfsdk:"reassign_owned_to"`
	TerminateSessions  types.Bool   `tfsdk:"terminate_sessions"`
}

func (m databaseUserModel) toUser() postgres.User {
	u := postgres.User{
		Name:            m.Name.ValueString(),
		Login:           m.Login.ValueBool(),
		ConnectionLimit: int(m.ConnectionLimit.ValueInt64()),
		ValidUntil:      m.ValidUntil.ValueString(),
		Replication:     m.Replication.ValueBool(),
		BypassRLS:       m.BypassRLS.ValueBool(),
	}
	u.Roles, _ = setStrings(m.Roles)
	slices.Sort(u.Roles)
	if !m.Parameters.IsNull() {
		u.Parameters = mapStrings(m.Parameters)
	}
	return u
}

func (m databaseUserModel) object(server *pgclient.Server) object {
	return inServer(server, object{noun: "database user", name: m.Name.ValueString(), typeName: "stitch_database_user", key: []string{m.Name.ValueString()}})
}

// fromUser overwrites only what the server reports, and keeps the user's spelling of equal values.
// A user that is being imported has no attributes yet.
func (m *databaseUserModel) fromUser(u postgres.User) {
	imported := m.Login.IsNull()
	m.Name = types.StringValue(u.Name)
	m.Login = types.BoolValue(u.Login)
	m.ConnectionLimit = types.Int64Value(int64(u.ConnectionLimit))
	m.Replication = types.BoolValue(u.Replication)
	m.BypassRLS = types.BoolValue(u.BypassRLS)
	m.Excess = stringList(u.Excess(m.toUser()))
	if roles, _ := setStrings(m.Roles); !m.Roles.IsNull() {
		m.Roles = stringSet(slices.DeleteFunc(roles, func(role string) bool { return !u.HasRole(role) }))
	}
	if !postgres.SameValidUntil(m.ValidUntil.ValueString(), u.ValidUntil) {
		m.ValidUntil = types.StringValue(u.ValidUntil)
		if u.ValidUntil == "" {
			m.ValidUntil = types.StringNull()
		}
	}
	if !m.Parameters.IsNull() || imported && len(u.Parameters) > 0 {
		m.Parameters = stringMap(postgres.ParametersAsWritten(u.Parameters, mapStrings(m.Parameters)))
	}
	if imported {
		m.PasswordEncryption = types.StringValue(postgres.SCRAM)
		m.TerminateSessions = types.BoolValue(false)
	}
}

func stringMap(texts map[string]string) types.Map {
	values := make(map[string]attr.Value, len(texts))
	for key, text := range texts {
		values[key] = types.StringValue(text)
	}
	return types.MapValueMust(types.StringType, values)
}

// mapStrings returns the known elements of a map of strings.
func mapStrings(m types.Map) map[string]string {
	texts := make(map[string]string, len(m.Elements()))
	for key, element := range m.Elements() {
		if text, ok := element.(types.String); ok && !text.IsNull() && !text.IsUnknown() {
			texts[key] = text.ValueString()
		}
	}
	return texts
}
