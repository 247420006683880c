package provider

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// serverModel is an entry of servers.
type serverModel struct {
	Host            types.String `tfsdk:"host"`
	Port            types.Int64  `tfsdk:"port"`
	Database        types.String `tfsdk:"database"`
	Username        types.String `tfsdk:"username"`
	Password        types.String `tfsdk:"password"`
	PasswordCommand types.List   `tfsdk:"password_command"`
	SSLMode         types.String `tfsdk:"sslmode"`
	SSLRootCert     types.String `tfsdk:"sslrootcert"`
	SSLCert         types.String `tfsdk:"sslcert"`
	SSLKey          types.String `tfsdk:"sslkey"`
	AllowMD5        types.Bool   `tfsdk:"allow_md5"`
	SSHHost         types.String `tfsdk:"ssh_host"`
	MaxConnections  types.Int64  `tfsdk:"max_connections"`
	ConnectTimeout  types.Int64  `tfsdk:"connect_timeout"`
}

// toConfig returns the names of the attributes that are not known yet, or the configuration.
func (m serverModel) toConfig() (config pgclient.Config, unknown []string) {
	for _, a := range []struct {
		name  string
		value attr.Value
	}{
		{"host", m.Host}, {"port", m.Port}, {"database", m.Database}, {"username", m.Username},
		{"password", m.Password}, {"password_command", m.PasswordCommand}, {"sslmode", m.SSLMode},
		{"sslrootcert", m.SSLRootCert}, {"sslcert", m.SSLCert}, {"sslkey", m.SSLKey}, {"allow_md5", m.AllowMD5}, {"ssh_host", m.SSHHost},
		{"max_connections", m.MaxConnections}, {"connect_timeout", m.ConnectTimeout},
	} {
		if a.value.IsUnknown() {
			unknown = append(unknown, a.name)
		}
	}
	if len(unknown) > 0 {
		return pgclient.Config{}, unknown
	}
	config = pgclient.Config{
		Host:           m.Host.ValueString(),
		Port:           int(m.Port.ValueInt64()),
		Database:       m.Database.ValueString(),
		Username:       m.Username.ValueString(),
		Password:       m.Password.ValueString(),
		SSLMode:        m.SSLMode.ValueString(),
		SSLRootCert:    m.SSLRootCert.ValueString(),
		SSLCert:        m.SSLCert.ValueString(),
		SSLKey:         m.SSLKey.ValueString(),
		AllowMD5:       m.AllowMD5.ValueBool(),
		MaxConnections: int(m.MaxConnections.ValueInt64()),
		ConnectTimeout: time.Duration(m.ConnectTimeout.ValueInt64()) * time.Second,
	}
	for _, element := range m.PasswordCommand.Elements() {
		word, ok := element.(types.String)
		if !ok || word.IsUnknown() {
			return pgclient.Config{}, []string{"password_command"}
		}
		config.PasswordCommand = append(config.PasswordCommand, word.ValueString())
	}
	return config, nil
}

func serversAttribute() schema.MapNestedAttribute {
	return schema.MapNestedAttribute{
		MarkdownDescription: "The PostgreSQL servers that resources refer to by key, one entry for each login. " +
			"A server is connected to only when a resource needs it.",
		Optional: true,
		NestedObject: schema.NestedAttributeObject{Validators: []validator.Object{complete{"server", []string{"host", "username"}}, authority{}}, Attributes: map[string]schema.Attribute{
			"host": schema.StringAttribute{
				MarkdownDescription: "Required. Host name or address, or the directory of a Unix socket. There is no default, and the environment, such as `PGHOST`, is ignored.",
				Optional:            true, // for the framework; see complete
				Validators:          []validator.String{validHost{}},
			},
			"port": schema.Int64Attribute{
				MarkdownDescription: "Port; `5432` by default.",
				Optional:            true,
				Validators:          []validator.Int64{int64validator.Between(1, 65535)},
			},
			"database": schema.StringAttribute{
				MarkdownDescription: "Database to connect to for objects that belong to the whole server; `postgres` by default.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"username": schema.StringAttribute{
				MarkdownDescription: "Required. Database user to log in as.",
				Optional:            true, // for the framework; see complete
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"password": schema.StringAttribute{
				MarkdownDescription: "Password of that user. It may come from an ephemeral variable or resource. If nothing proves that the server is the right one, the server must then ask for the password: leave it out if the server trusts its clients.",
				Optional:            true,
				Sensitive:           true,
				Validators:          []validator.String{stringvalidator.ConflictsWith(path.MatchRelative().AtParent().AtName("password_command"))},
			},
			"password_command": schema.ListAttribute{
				MarkdownDescription: "Program, with its arguments, that prints the password. It runs without a shell for each new connection: for tokens that expire, " +
					"such as `[\"aws\", \"rds\", \"generate-db-auth-token\", ...]`. A command that hangs is ended 20 seconds after `connect_timeout`.",
				Optional:    true,
				ElementType: types.StringType,
				Validators:  []validator.List{listvalidator.SizeAtLeast(1)},
			},
			"sslmode": schema.StringAttribute{
				MarkdownDescription: "`disable`, `prefer`, `require`, `verify-ca` or `verify-full`, as libpq understands them. `verify-full` by default; `prefer` if the host is a loopback address. " +
					"It determines how the server is allowed to ask for a login: see [Security](#security).",
				Optional:   true,
				Validators: []validator.String{stringvalidator.OneOf(pgclient.SSLModes...)},
			},
			"sslrootcert": schema.StringAttribute{
				MarkdownDescription: "Certificate of the authority that signed the server's certificate, as PEM text or the path of a file. The system's authorities are used by default, but `verify-ca` needs this attribute.",
				Optional:            true,
			},
			"sslcert": schema.StringAttribute{
				MarkdownDescription: "Client certificate, as PEM text or the path of a file.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName("sslkey"))},
			},
			"sslkey": schema.StringAttribute{
				MarkdownDescription: "Key of the client certificate, as PEM text or the path of a file.",
				Optional:            true,
				Sensitive:           true,
				Validators:          []validator.String{stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName("sslcert"))},
			},
			"allow_md5": schema.BoolAttribute{
				MarkdownDescription: "Whether a server that has not proved its identity is allowed to ask for a login by MD5, or by SCRAM-SHA-256 with fewer than 4,096 iterations; `false` by default. " +
					"A weak password can then be guessed: see [Security](#security).",
				Optional: true,
			},
			"ssh_host": schema.StringAttribute{
				MarkdownDescription: "Key of the entry of `ssh_hosts` that the server is reached through. Give `host` as that SSH host sees it (`localhost` is the SSH host itself): " +
					"TLS is still verified against it. Each connection has its own SSH connection, and no port is opened on the machine that runs Terraform.",
				Optional:   true,
				Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"max_connections": schema.Int64Attribute{
				MarkdownDescription: "How many connections this entry can have open at once, for all resources together; `8` by default. `1` works; a sync run uses up to four if they are free.",
				Optional:            true,
				Validators:          []validator.Int64{int64validator.Between(1, 1000)},
			},
			"connect_timeout": schema.Int64Attribute{
				MarkdownDescription: "Seconds to wait for a connection; `10` by default.",
				Optional:            true,
				Validators:          []validator.Int64{int64validator.Between(1, 3600)},
			},
		}},
	}
}

// authority requires a configured authority wherever the system's authorities would vouch for
// anyone's server.
type authority struct{}

func (authority) Description(context.Context) string {
	return "needs sslrootcert if sslmode is verify-ca"
}

func (v authority) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (authority) ValidateObject(_ context.Context, req validator.ObjectRequest, resp *validator.ObjectResponse) {
	mode, ok := req.ConfigValue.Attributes()["sslmode"].(types.String)
	if root, set := req.ConfigValue.Attributes()["sslrootcert"]; ok && set && mode.ValueString() == "verify-ca" && root.IsNull() {
		resp.Diagnostics.AddAttributeError(req.Path.AtName("sslrootcert"), "verify-ca without an authority",
			`sslmode "verify-ca" does not check the name in the certificate: with the system's authorities, it would accept anyone's certificate. Set sslrootcert, or sslmode = "verify-full".`)
	}
}

// complete requires the attributes that an entry cannot do without. The framework's own check
// reports the attributes of an entry that is not known yet as missing.
type complete struct {
	noun  string
	needs []string
}

func (v complete) Description(context.Context) string {
	return "needs " + strings.Join(v.needs, " and ")
}

func (v complete) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v complete) ValidateObject(_ context.Context, req validator.ObjectRequest, resp *validator.ObjectResponse) {
	if req.ConfigValue.IsUnknown() {
		return
	}
	article := "A "
	if strings.HasPrefix(v.noun, "SSH") {
		article = "An "
	}
	for _, name := range v.needs {
		if value, ok := req.ConfigValue.Attributes()[name]; !ok || value.IsNull() {
			resp.Diagnostics.AddAttributeError(req.Path.AtName(name), "Incomplete "+v.noun, article+v.noun+" needs a "+name+".")
		}
	}
}
