package provider

import (
	"context"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Provider is the provider "stitch".
type Provider struct {
	version string

	mu      sync.Mutex
	clients []*clients // one for each time that Terraform configured the provider
}

var _ provider.ProviderWithFunctions = (*Provider)(nil)

// New returns the provider. Terraform shows the version.
func New(version string) *Provider { return &Provider{version: version} }

// Close closes the idle connections.
func (p *Provider) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		c.close()
	}
}

// Metadata names the provider.
func (p *Provider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "stitch"
	resp.Version = p.version
}

type providerModel struct {
	Servers  types.Map `tfsdk:"servers"`
	SSHHosts types.Map `tfsdk:"ssh_hosts"`
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

// Configure prepares the servers and SSH hosts. It opens no connection.
func (p *Provider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var model providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	if resp.Diagnostics.HasError() {
		return
	}
	c := &clients{claims: newClaims(), walk: &walk{found: map[string]bool{}}, grantsPlans: &grantsPlans{}}
	resp.Diagnostics.Append(c.addHosts(ctx, model.SSHHosts)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(c.addServers(ctx, model.Servers)...)
	if resp.Diagnostics.HasError() {
		return
	}
	p.mu.Lock()
	p.clients = append(p.clients, c)
	p.mu.Unlock()
	resp.ResourceData, resp.DataSourceData = c, c
}

// Resources lists the resources.
func (*Provider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{
		at(asRole("name").dropping("name"), newDatabaseUserResource),
		at(inDatabase("name").holding(tablesOf).dropping("name"), newDestinationDatabaseResource),
		at(inDatabase("database").holding(contentsOf).dropping("name"), newDestinationSchemaResource),
		at(inDatabase("database"), newSourceGrantsResource),
		at(inDatabase("database"), newDestinationGrantsResource),
		at(ofReplication(), newReplicationResource),
		newSyncRunResource,
		at(ofHostUser(), newSSHUserResource),
		at(ofHostUser().dropping("fingerprint"), newSSHAuthorizedKeyResource),
	}
}

// DataSources lists the data sources.
func (*Provider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		newConnectionCheckDataSource,
		newIPAddressesDataSource,
		newSSHCheckDataSource,
	}
}

// Functions lists the functions.
func (*Provider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{newSSHPublicKeyFunction}
}
