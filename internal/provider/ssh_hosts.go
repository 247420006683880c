package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// sshHostModel is an entry of ssh_hosts.
type sshHostModel struct {
	Host                 types.String `tfsdk:"host"`
	Port                 types.Int64  `tfsdk:"port"`
	Username             types.String `tfsdk:"username"`
	PrivateKey           types.String `tfsdk:"private_key"`
	PrivateKeyPassphrase types.String `tfsdk:"private_key_passphrase"`
	Certificate          types.String `tfsdk:"certificate"`
	Agent                types.Bool   `tfsdk:"agent"`
	Password             types.String `tfsdk:"password"`
	HostKey              types.String `tfsdk:"host_key"`
	KnownHosts           types.String `tfsdk:"known_hosts"`
	JumpHost             types.String `tfsdk:"jump_host"`
	Sudo                 types.Bool   `tfsdk:"sudo"`
	SudoPassword         types.String `tfsdk:"sudo_password"`
	ConnectTimeout       types.Int64  `tfsdk:"connect_timeout"`
}

// toConfig returns the names of the attributes that are not known yet, or the configuration.
func (m sshHostModel) toConfig() (config sshclient.Config, unknown []string) {
	for _, a := range []struct {
		name  string
		value attr.Value
	}{
		{"host", m.Host}, {"port", m.Port}, {"username", m.Username}, {"private_key", m.PrivateKey},
		{"private_key_passphrase", m.PrivateKeyPassphrase}, {"certificate", m.Certificate}, {"agent", m.Agent},
		{"password", m.Password}, {"host_key", m.HostKey}, {"known_hosts", m.KnownHosts}, {"jump_host", m.JumpHost},
		{"sudo", m.Sudo}, {"sudo_password", m.SudoPassword}, {"connect_timeout", m.ConnectTimeout},
	} {
		if a.value.IsUnknown() {
			unknown = append(unknown, a.name)
		}
	}
	if len(unknown) > 0 {
		return sshclient.Config{}, unknown
	}
	return sshclient.Config{
		Host:                 m.Host.ValueString(),
		Port:                 int(m.Port.ValueInt64()),
		Username:             m.Username.ValueString(),
		PrivateKey:           m.PrivateKey.ValueString(),
		PrivateKeyPassphrase: m.PrivateKeyPassphrase.ValueString(),
		Certificate:          m.Certificate.ValueString(),
		Agent:                m.Agent.ValueBool(),
		Password:             m.Password.ValueString(),
		HostKeys:             lines(m.HostKey.ValueString()),
		KnownHosts:           m.KnownHosts.ValueString(),
		JumpHost:             m.JumpHost.ValueString(),
		Sudo:                 m.Sudo.ValueBool(),
		SudoPassword:         m.SudoPassword.ValueString(),
		ConnectTimeout:       time.Duration(m.ConnectTimeout.ValueInt64()) * time.Second,
	}, nil
}

func sshHostsAttribute() schema.MapNestedAttribute {
	return schema.MapNestedAttribute{
		MarkdownDescription: "The SSH hosts that resources, and `ssh_host` of `servers`, refer to by key. " +
			"A host is connected to only when a resource or a server needs it, and its key is always verified. The provider does not read the user's `ssh_config`.",
		Optional: true,
		NestedObject: schema.NestedAttributeObject{
			Validators: []validator.Object{complete{"SSH host", []string{"host", "username"}}, verifiedSSHHost{}},
			Attributes: map[string]schema.Attribute{
				"host": schema.StringAttribute{
					MarkdownDescription: "Required. Host name or address. With `jump_host`, the jump host resolves it.",
					Optional:            true, // for the framework; see complete
					Validators:          []validator.String{validHost{}},
				},
				"port": schema.Int64Attribute{
					MarkdownDescription: "Port; `22` by default.",
					Optional:            true,
					Validators:          []validator.Int64{int64validator.Between(1, 65535)},
				},
				"username": schema.StringAttribute{
					MarkdownDescription: "Required. User to log in as. To manage users, it must be `root` or have `sudo`; to reach servers, it must be allowed to forward connections.",
					Optional:            true, // for the framework; see complete
					Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				},
				"private_key": schema.StringAttribute{
					MarkdownDescription: "Private key of that user, as OpenSSH or PEM text or the path of a file. It may come from an ephemeral variable or resource.",
					Optional:            true,
					Sensitive:           true,
				},
				"private_key_passphrase": schema.StringAttribute{
					MarkdownDescription: "Passphrase of `private_key`, if it is encrypted.",
					Optional:            true,
					Sensitive:           true,
				},
				"certificate": schema.StringAttribute{
					MarkdownDescription: "Certificate of `private_key`, or of a key of the agent, signed by an authority that the host trusts, as text (`ssh-ed25519-cert-v01@openssh.com AAAA...`) or the path of a file.",
					Optional:            true,
				},
				"agent": schema.BoolAttribute{
					MarkdownDescription: "Whether to log in with the keys of the SSH agent that `SSH_AUTH_SOCK` names. The agent is never forwarded.",
					Optional:            true,
				},
				"password": schema.StringAttribute{
					MarkdownDescription: "Password of that user. It may come from an ephemeral variable or resource.",
					Optional:            true,
					Sensitive:           true,
				},
				"host_key": schema.StringAttribute{
					MarkdownDescription: "Public key of the host, such as `ssh-ed25519 AAAA...`, or several, one per line: the host must have one of them. This or `known_hosts` is required.",
					Optional:            true,
					Validators:          []validator.String{validHostKeys()},
				},
				"known_hosts": schema.StringAttribute{
					MarkdownDescription: "Path of a file that holds the host's public key, in the form that `ssh` keeps.",
					Optional:            true,
					Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				},
				"jump_host": schema.StringAttribute{
					MarkdownDescription: "Key of the entry of `ssh_hosts` that this host is reached through. That entry can have a `jump_host` itself.",
					Optional:            true,
				},
				"sudo": schema.BoolAttribute{
					MarkdownDescription: "Whether `username` becomes root with `sudo`, for operations that only root can perform.",
					Optional:            true,
				},
				"sudo_password": schema.StringAttribute{
					MarkdownDescription: "Password for `sudo`, if it asks for one.",
					Optional:            true,
					Sensitive:           true,
				},
				"connect_timeout": schema.Int64Attribute{
					MarkdownDescription: "Seconds to wait for a connection, including its login; `10` by default.",
					Optional:            true,
					Validators:          []validator.Int64{int64validator.Between(1, 3600)},
				},
			},
		},
	}
}

// verifiedSSHHost requires a way to verify an SSH host and a way to log in to it, and refuses
// attributes that would have no effect.
type verifiedSSHHost struct{}

func (verifiedSSHHost) Description(context.Context) string {
	return "needs host_key or known_hosts, and private_key, agent or password"
}

func (v verifiedSSHHost) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (verifiedSSHHost) ValidateObject(_ context.Context, req validator.ObjectRequest, resp *validator.ObjectResponse) {
	if req.ConfigValue.IsUnknown() || req.ConfigValue.IsNull() {
		return
	}
	attributes := req.ConfigValue.Attributes()
	has := func(names ...string) bool { // or may have
		for _, name := range names {
			value, ok := attributes[name]
			if ok && !value.IsNull() && !value.Equal(types.BoolValue(false)) {
				return true
			}
		}
		return false
	}
	refuse := func(at path.Path, summary, detail string) {
		resp.Diagnostics.AddAttributeError(at, summary, detail)
	}
	switch both := has("host_key") && has("known_hosts"); {
	case both:
		refuse(req.Path.AtName("known_hosts"), "Two sources of host keys", "Set host_key or known_hosts, not both: the provider would refuse a key that one of them lacks.")
	case !has("host_key", "known_hosts"):
		refuse(req.Path.AtName("host_key"), "An SSH host needs a host_key",
			"The provider always verifies its key. Set host_key to its public key, or known_hosts to a file that holds it. ssh-keyscan -t ed25519 <host> prints the key: compare it with /etc/ssh/ssh_host_ed25519_key.pub on the host.")
	}
	if !has("private_key", "agent", "password") {
		refuse(req.Path.AtName("private_key"), "An SSH host needs a login", "Set private_key, agent = true or password.")
	}
	for _, needs := range []struct {
		name   string
		others []string
	}{
		{"private_key_passphrase", []string{"private_key"}},
		{"certificate", []string{"private_key", "agent"}},
		{"sudo_password", []string{"sudo"}},
	} {
		if has(needs.name) && !has(needs.others...) {
			refuse(req.Path.AtName(needs.name), "No effect", needs.name+" has an effect only together with "+needs.others[0]+".")
		}
	}
}
