package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// sshCheckDataSource connects to an SSH host and reports whether tunnels through it will work.
type sshCheckDataSource struct{ configuredDataSource }

var (
	_ datasource.DataSourceWithConfigure      = (*sshCheckDataSource)(nil)
	_ datasource.DataSourceWithValidateConfig = (*sshCheckDataSource)(nil)
)

func newSSHCheckDataSource() datasource.DataSource { return &sshCheckDataSource{} }

// Metadata names the data source.
func (*sshCheckDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_ssh_check"
}

type sshCheckModel struct {
	Host      types.String `tfsdk:"host"`
	Username  types.String `tfsdk:"username"`
	PublicKey types.String `tfsdk:"public_key"`
	Server    types.String `tfsdk:"server"`

	Ready              types.Bool   `tfsdk:"ready"`
	Advice             types.List   `tfsdk:"advice"`
	SSHDRead           types.Bool   `tfsdk:"sshd_read"`
	AllowTCPForwarding types.String `tfsdk:"allow_tcp_forwarding"`
	PermitOpen         types.List   `tfsdk:"permit_open"`
	MaxSessions        types.Int64  `tfsdk:"max_sessions"`
	ClientAddress      types.String `tfsdk:"client_address"`
	Forwarded          types.Bool   `tfsdk:"forwarded"`
}

// Schema describes the data source.
func (*sshCheckDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Connects to an SSH host, and checks whether tunnels through it will work: the settings of sshd as they apply to the user, the user and its key, " +
			"and whether a PostgreSQL server answers at the other end. Warnings and `advice` say what to do. It fails only if it cannot log in, and says why.\n\n" +
			"The check changes nothing. It runs at plan time. If it depends on something that does not exist yet (`depends_on`), it runs during the apply. " +
			"To stop the plan or the apply unless everything is fine, use `ready` in a `postcondition`.",
		Attributes: map[string]schema.Attribute{
			"host": schema.StringAttribute{
				MarkdownDescription: "Key of the entry in the provider's `ssh_hosts`. sshd shows its settings only to root: unless the login of the entry is `root` or has `sudo`, the check covers less, and `advice` says so.",
				Required:            true,
			},
			"username": schema.StringAttribute{
				MarkdownDescription: "User that tunnels log in as; the login of the entry by default.",
				Optional:            true,
				Computed:            true,
				Validators:          []validator.String{validUserName()},
			},
			"public_key": schema.StringAttribute{
				MarkdownDescription: "Public key that tunnels log in with. The check tests whether the user's `authorized_keys` holds it, and whether its options allow the tunnel.",
				Optional:            true,
				Validators:          []validator.String{validPublicKey()},
			},
			"server": schema.StringAttribute{
				MarkdownDescription: "Key of the entry in the provider's `servers` that tunnels lead to, by its `host` and `port`. The check opens a tunnel there with the login of the host's entry, and asks the server whether it is PostgreSQL; it does not log in to the server.",
				Optional:            true,
			},
			"ready": schema.BoolAttribute{
				MarkdownDescription: "Whether the check found nothing that prevents a tunnel.",
				Computed:            true,
			},
			"advice": schema.ListAttribute{
				MarkdownDescription: "What to do about each finding, one text for each. The same texts appear as warnings.",
				Computed:            true,
				ElementType:         types.StringType,
			},
			"sshd_read": schema.BoolAttribute{
				MarkdownDescription: "Whether the settings of sshd (`sshd -T`) could be read. If not, the next three attributes are null.",
				Computed:            true,
			},
			"allow_tcp_forwarding": schema.StringAttribute{
				MarkdownDescription: "`AllowTcpForwarding` as it applies to the user: `yes`, `local`, `remote` or `no`.",
				Computed:            true,
			},
			"permit_open": schema.ListAttribute{
				MarkdownDescription: "`PermitOpen` as it applies to the user: `any`, `none`, or the addresses that tunnels are allowed to lead to.",
				Computed:            true,
				ElementType:         types.StringType,
			},
			"max_sessions": schema.Int64Attribute{
				MarkdownDescription: "`MaxSessions` as it applies to the user. Tunnels do not count as sessions. Commands of this provider do: it runs at most four at a time.",
				Computed:            true,
			},
			"client_address": schema.StringAttribute{
				MarkdownDescription: "Address that the host saw this check come from, for a firewall or for the option `from` of a key.",
				Computed:            true,
			},
			"forwarded": schema.BoolAttribute{
				MarkdownDescription: "Whether PostgreSQL answered through the host; null without `server`.",
				Computed:            true,
			},
		},
	}
}

// ValidateConfig refuses what the check could not test.
func (*sshCheckDataSource) ValidateConfig(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	var config sshCheckModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if config.Server.ValueString() == "" && !config.Server.IsNull() && !config.Server.IsUnknown() {
		resp.Diagnostics.AddAttributeError(path.Root("server"), "Invalid value", "It is empty: remove it, or name an entry of servers.")
	}
}

// Read connects to the host and checks it. It also gives the advice as warnings.
func (d *sshCheckDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model sshCheckModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	resp.Diagnostics.Append(d.checkHost(path.Root("host"), model.Host)...)
	resp.Diagnostics.Append(d.checkServer(path.Root("server"), model.Server)...)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := d.check(ctx, &model)
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot check SSH host "+model.Host.ValueString(), deferrable(err)))
		return
	}
	advice := []string{}
	for _, f := range found.Findings {
		detail := f.Detail
		if f.Remedy != "" {
			detail += " " + f.Remedy
		}
		resp.Diagnostics.AddWarning(f.Summary, detail)
		advice = append(advice, f.Summary+". "+detail)
	}
	model.Ready = types.BoolValue(!found.Blocked())
	model.Advice = textList(advice)
	resp.Diagnostics.Append(resp.State.Set(ctx, model)...)
}

// check fills in the model, and returns what it found.
func (d *sshCheckDataSource) check(ctx context.Context, model *sshCheckModel) (checked linux.Checked, err error) {
	host, err := d.hostToRead(model.Host.ValueString())
	if err != nil {
		return linux.Checked{}, err
	}
	if model.Username.IsNull() {
		model.Username = types.StringValue(host.Username())
	}
	check := linux.Check{Username: model.Username.ValueString()}
	if !model.PublicKey.IsNull() {
		key, err := linux.ParsePublicKey(model.PublicKey.ValueString())
		if err != nil {
			return linux.Checked{}, fmt.Errorf("read public_key: %w", err)
		}
		check.PublicKey = &key
	}
	var server *pgclient.Server
	if !model.Server.IsNull() {
		if server, err = d.server(model.Server.ValueString()); err != nil {
			return linux.Checked{}, err
		}
		check.Host, check.Port = server.Address()
	}
	checked, err = linux.CheckUser(ctx, host, check)
	switch {
	case err != nil && (sshclient.IsUnreachable(err) || ctx.Err() != nil):
		return linux.Checked{}, err
	case err != nil: // a login that may only forward has no shell to check with
		checked.Findings = []linux.Finding{{
			Summary: "The host was not checked",
			Detail:  err.Error() + ".",
			Remedy:  "The results cover only what a tunnel itself shows. To check the rest, use an entry of ssh_hosts whose login is allowed to run commands.",
		}}
	}
	model.fromSSHD(checked.SSHD)
	model.ClientAddress = textOrNull(checked.Peer)
	if server == nil {
		return checked, nil
	}
	err = server.AnswersThrough(ctx, host.Tunnel().DialContext)
	model.Forwarded = types.BoolValue(err == nil)
	if ctx.Err() != nil {
		return linux.Checked{}, ctx.Err()
	}
	if err != nil {
		checked.Findings = append(checked.Findings, linux.Finding{
			Summary: "The server cannot be reached through the host",
			Detail:  fmt.Sprintf("PostgreSQL of servers.%s did not answer through SSH host %q: %v.", server.Name(), host.Name(), err),
			Remedy:  "Check that host and port of that entry are right as seen from the SSH host, and that the server's firewall lets the SSH host in.",
			Blocks:  true,
		})
	}
	return checked, nil
}

func (m *sshCheckModel) fromSSHD(s linux.SSHD) {
	m.SSHDRead = types.BoolValue(s.Known)
	m.PermitOpen = types.ListNull(types.StringType)
	if s.Known {
		m.AllowTCPForwarding = textValue(s.AllowTCPForwarding)
		m.PermitOpen = textList(s.PermitOpen)
		m.MaxSessions = types.Int64Value(int64(s.MaxSessions))
	}
}
