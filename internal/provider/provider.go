package provider

import (
	"context"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// Provider is the provider "stitch".
type Provider struct {
	version string

	mu      sync.Mutex
	clients []*clients // one for each time that Terraform configured it
}

var _ provider.Provider = (*Provider)(nil)

// New returns the provider. The version is shown to Terraform.
func New(version string) *Provider { return &Provider{version: version} }

// Close closes the connections that are idle.
func (p *Provider) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.servers.Close()
	}
}

// Metadata names the provider.
func (p *Provider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "stitch"
	resp.Version = p.version
}

type providerModel struct {
	Servers  types.Map     `tfsdk:"servers"`
	SSHHosts types.Dynamic `tfsdk:"ssh_hosts"`
}

// Schema describes the provider block.
func (*Provider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Sets up PostgreSQL replication the way Stitch does, and runs it.",
		Attributes: map[string]schema.Attribute{
			"servers":   serversAttribute(),
			"ssh_hosts": sshHostsAttribute(),
		},
	}
}

// Configure prepares the servers. It opens no connection.
func (p *Provider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var model providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if model.Servers.IsUnknown() {
		return // resources then say that it is not known
	}
	entries, whole, diags := decodeServers(ctx, model.Servers)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	configs, unknown := map[string]postgres.Config{}, map[string][]string{}
	for _, name := range whole {
		unknown[name] = nil
	}
	for name, entry := range entries {
		config, missing := entry.toConfig()
		if len(missing) > 0 {
			unknown[name] = missing
			continue
		}
		if config.Host == "" {
			resp.Diagnostics.Append(emptyHost(name))
			continue
		}
		configs[name] = config
	}
	c := newClients(configs, unknown)
	p.mu.Lock()
	p.clients = append(p.clients, c)
	p.mu.Unlock()
	resp.ResourceData, resp.DataSourceData = c, c
}

func emptyHost(name string) diag.Diagnostic {
	return diag.NewAttributeErrorDiagnostic(path.Root("servers").AtMapKey(name).AtName("host"),
		"A server needs a host",
		"host is empty. It never falls back to localhost or PGHOST: write the name or address of the server, or \"localhost\" if that is meant.")
}

// Resources lists the resources.
func (*Provider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		newDatabaseUserResource,
		newDestinationDatabaseResource,
		newDestinationSchemaResource,
		newSourceGrantsResource,
		newDestinationGrantsResource,
		newReplicationResource,
		newSyncRunResource,
	}
}

// DataSources lists the data sources.
func (*Provider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		newConnectionCheckDataSource,
		newIPAddressesDataSource,
	}
}
