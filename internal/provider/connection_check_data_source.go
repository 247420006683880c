package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/preflight"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// connectionCheckDataSource logs in to a server and reports what it found.
type connectionCheckDataSource struct{ configuredDataSource }

var (
	_ datasource.DataSourceWithConfigure      = (*connectionCheckDataSource)(nil)
	_ datasource.DataSourceWithValidateConfig = (*connectionCheckDataSource)(nil)
)

func newConnectionCheckDataSource() datasource.DataSource { return &connectionCheckDataSource{} }

// Metadata names the data source.
func (*connectionCheckDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_connection_check"
}

type connectionCheckModel struct {
	Server       types.String `tfsdk:"server"`
	Database     types.String `tfsdk:"database"`
	UseAs        types.String `tfsdk:"use_as"`
	Schemas      types.Set    `tfsdk:"schemas"`
	Tables       types.Map    `tfsdk:"tables"`
	WithoutIndex types.Set    `tfsdk:"without_index"`

	Ready               types.Bool   `tfsdk:"ready"`
	Advice              types.List   `tfsdk:"advice"`
	Version             types.String `tfsdk:"version"`
	MajorVersion        types.Int64  `tfsdk:"major_version"`
	Tested              types.Bool   `tfsdk:"tested"`
	TestedMajorVersions types.List   `tfsdk:"tested_major_versions"`

	TLS           types.Bool   `tfsdk:"tls"`
	TLSVersion    types.String `tfsdk:"tls_version"`
	TLSCipher     types.String `tfsdk:"tls_cipher"`
	ClientAddress types.String `tfsdk:"client_address"`
	ServerAddress types.String `tfsdk:"server_address"`
	ServerPort    types.Int64  `tfsdk:"server_port"`
	Pooling       types.String `tfsdk:"pooling"`
	Username      types.String `tfsdk:"username"`
	Superuser     types.Bool   `tfsdk:"superuser"`

	Standby                  types.Bool   `tfsdk:"standby"`
	HotStandby               types.String `tfsdk:"hot_standby"`
	MaxStandbyArchiveDelay   types.String `tfsdk:"max_standby_archive_delay"`
	MaxStandbyStreamingDelay types.String `tfsdk:"max_standby_streaming_delay"`
	HotStandbyFeedback       types.String `tfsdk:"hot_standby_feedback"`
	WALLevel                 types.String `tfsdk:"wal_level"`
	MaxReplicationSlots      types.Int64  `tfsdk:"max_replication_slots"`
	ReplicationSlots         types.Int64  `tfsdk:"replication_slots"`
	MaxWALSenders            types.Int64  `tfsdk:"max_wal_senders"`
	WALSenders               types.Int64  `tfsdk:"wal_senders"`

	Privileges                  types.List `tfsdk:"privileges"`
	ReplicationKeysWithoutIndex types.Map  `tfsdk:"replication_keys_without_index"`
	RowLevelSecurity            types.List `tfsdk:"row_level_security"`
}

type checkedTableModel struct {
	ReplicationKey types.String `tfsdk:"replication_key"`
}

type privilegeModel struct {
	Privilege types.String `tfsdk:"privilege"`
	Object    types.String `tfsdk:"object"`
	Held      types.Bool   `tfsdk:"held"`
	Reason    types.String `tfsdk:"reason"`
}

// ValidateConfig refuses attributes that ask for a check that would not take place.
func (*connectionCheckDataSource) ValidateConfig(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	var config connectionCheckModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() || config.UseAs.IsUnknown() {
		return
	}
	if !config.Schemas.IsNull() && config.UseAs.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("schemas"), "Missing use_as", "Set use_as to what the login is for: \"source\" to read these schemas, or \"destination\" to load into them.")
	}
	if !config.Tables.IsNull() && config.UseAs.ValueString() != string(preflight.UseAsSource) {
		resp.Diagnostics.AddAttributeError(path.Root("tables"), "Only a source has tables to check", "Set use_as = \"source\" to check the rights on these tables, or remove tables.")
	}
}

// Read logs in and checks. It also gives the advice as warnings.
func (d *connectionCheckDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model connectionCheckModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	check, diags := model.toCheck(ctx)
	resp.Diagnostics.Append(diags...)
	resp.Diagnostics.Append(d.checkServer(path.Root("server"), model.Server)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var found preflight.Connection
	server, err := d.serverToRead(model.Server.ValueString())
	if err == nil {
		found, err = preflight.CheckConnection(ctx, server, check)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot check the connection to server "+model.Server.ValueString(), deferrable(err)))
		return
	}
	for _, advice := range found.Advice {
		resp.Diagnostics.AddWarning(advice.Summary, advice.Detail)
	}
	if model.Database.IsNull() {
		model.Database = types.StringValue(server.DefaultDatabase())
	}
	resp.Diagnostics.Append(model.fromConnection(ctx, found)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, model)...)
}

// deferrable explains how to read a data source only once the server is known.
func deferrable(err error) error {
	var unknown *unknownError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w To read this data source during the apply, after that is created, list what it depends on in its depends_on", err)
	}
	return err
}

// toCheck decodes what to check.
func (m connectionCheckModel) toCheck(ctx context.Context) (preflight.ConnectionCheck, diag.Diagnostics) {
	check := preflight.ConnectionCheck{Database: m.Database.ValueString(), Use: preflight.Use(m.UseAs.ValueString())}
	check.Schemas, _ = setStrings(m.Schemas)
	var tables map[string]checkedTableModel
	diags := m.Tables.ElementsAs(ctx, &tables, false)
	for key, table := range tables {
		name, err := relation.ParseTableName(key)
		if err != nil {
			diags.AddAttributeError(path.Root("tables").AtMapKey(key), "Invalid name", err.Error())
			continue
		}
		if check.Tables == nil {
			check.Tables = map[relation.TableName]string{}
		}
		check.Tables[name] = table.ReplicationKey.ValueString()
	}
	accepted, _ := setStrings(m.WithoutIndex)
	for _, text := range accepted {
		name, err := relation.ParseTableName(text)
		if _, ok := check.Tables[name]; err != nil || !ok {
			diags.AddAttributeError(path.Root("without_index").AtSetValue(types.StringValue(text)), "No such table", text+" is not in tables.")
			continue
		}
		check.WithoutIndex = append(check.WithoutIndex, name)
	}
	return check, diags
}

// fromConnection encodes what the check found. Values that the check does not ask of an old server
// stay null.
func (m *connectionCheckModel) fromConnection(ctx context.Context, c preflight.Connection) (diags diag.Diagnostics) {
	m.Ready = types.BoolValue(c.Ready())
	m.Version, m.MajorVersion, m.Tested = textValue(c.Version), types.Int64Value(int64(c.Major)), types.BoolValue(c.Tested())
	m.TLS, m.TLSVersion, m.TLSCipher = types.BoolValue(c.TLS), textOrNull(c.TLSVersion), textOrNull(c.TLSCipher)
	advice := []string{}
	for _, a := range c.Advice {
		advice = append(advice, a.Summary+". "+a.Detail)
	}
	keys, hidden, privileges := map[string]string{}, []string{}, []privilegeModel{}
	for table, key := range c.NotIndexed {
		keys[asValue(table.String())] = asValue(key)
	}
	for _, table := range c.RowSecurity {
		hidden = append(hidden, table.String())
	}
	for _, p := range c.Privileges {
		privileges = append(privileges, privilegeModel{
			types.StringValue(p.Privilege), textValue(p.Object), types.BoolValue(p.Held), textValue(p.Reason),
		})
	}
	collect := func(d diag.Diagnostics) { diags.Append(d...) }
	var d diag.Diagnostics
	m.Advice = textList(advice)
	m.TestedMajorVersions, d = types.ListValueFrom(ctx, types.Int64Type, preflight.TestedMajors())
	collect(d)
	m.ReplicationKeysWithoutIndex, d = types.MapValueFrom(ctx, types.StringType, keys)
	collect(d)
	m.RowLevelSecurity = textList(hidden)
	m.Privileges, d = types.ListValueFrom(ctx, privilegeType(), privileges)
	collect(d)
	if c.Facts.Username != "" {
		m.fromFacts(c)
	}
	return diags
}

func (m *connectionCheckModel) fromFacts(c preflight.Connection) {
	f := c.Facts
	m.Pooling = types.StringValue(string(c.Pooling))
	m.Username, m.Superuser = textValue(f.Username), types.BoolValue(f.Superuser)
	m.ClientAddress, m.ServerAddress = textOrNull(asValue(f.ClientAddress)), textOrNull(asValue(f.ServerAddress))
	if f.ServerPort != 0 {
		m.ServerPort = types.Int64Value(int64(f.ServerPort))
	}
	m.Standby, m.HotStandby = types.BoolValue(f.Standby), textValue(f.HotStandby)
	m.MaxStandbyArchiveDelay = textValue(f.MaxStandbyArchiveDelay)
	m.MaxStandbyStreamingDelay = textValue(f.MaxStandbyStreamingDelay)
	m.HotStandbyFeedback, m.WALLevel = textValue(f.HotStandbyFeedback), textValue(f.WALLevel)
	m.MaxReplicationSlots, m.ReplicationSlots = types.Int64Value(int64(f.MaxReplicationSlots)), types.Int64Value(int64(f.ReplicationSlots))
	m.MaxWALSenders, m.WALSenders = types.Int64Value(int64(f.MaxWALSenders)), types.Int64Value(int64(f.WALSenders))
}
