package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// ipAddressesDataSource lists the addresses of the hosted service.
type ipAddressesDataSource struct{}

func newIPAddressesDataSource() datasource.DataSource { return ipAddressesDataSource{} }

// Metadata names the data source.
func (ipAddressesDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_ip_addresses"
}

// hostedAddresses are the addresses that Stitch's documents list for a region: a connection may
// come from any of them.
func hostedAddresses(region string) []string {
	switch region {
	case "na":
		return []string{"52.23.137.21", "52.204.223.208", "52.204.228.32", "52.204.230.227"}
	case "eu":
		return []string{"3.126.102.29", "18.158.16.164", "18.158.251.55", "52.57.235.168"}
	}
	return nil
}

type ipAddressesModel struct {
	Region     types.String `tfsdk:"region"`
	Addresses  types.List   `tfsdk:"addresses"`
	CIDRBlocks types.List   `tfsdk:"cidr_blocks"`
}

// Schema describes the data source.
func (ipAddressesDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The addresses that the *hosted* Stitch service connects from, for the firewalls of its users.\n\n" +
			"~> The runs of this provider do not use these addresses: they connect from the machine that runs Terraform. `client_address` of `stitch_connection_check` is the address that a server sees.\n\n" +
			"The addresses are those in Stitch's documents; nothing is looked up.",
		Attributes: map[string]schema.Attribute{
			"region": schema.StringAttribute{
				MarkdownDescription: "Region of the Stitch account: `na` (North America, AWS us-east-1) or `eu` (Europe, AWS eu-central-1). It was chosen when the account was created.",
				Required:            true,
				Validators:          []validator.String{stringvalidator.OneOf("na", "eu")},
			},
			"addresses": schema.ListAttribute{
				MarkdownDescription: "The addresses. Allow all of them.",
				Computed:            true,
				ElementType:         types.StringType,
			},
			"cidr_blocks": schema.ListAttribute{
				MarkdownDescription: "The same addresses as CIDR blocks, such as `52.23.137.21/32`.",
				Computed:            true,
				ElementType:         types.StringType,
			},
		},
	}
}

// Read lists the addresses of the region.
func (ipAddressesDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model ipAddressesModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	if resp.Diagnostics.HasError() {
		return
	}
	addresses := hostedAddresses(model.Region.ValueString())
	blocks := make([]string, len(addresses))
	for i, address := range addresses {
		blocks[i] = address + "/32"
	}
	list, diags := types.ListValueFrom(ctx, types.StringType, addresses)
	resp.Diagnostics.Append(diags...)
	model.Addresses = list
	list, diags = types.ListValueFrom(ctx, types.StringType, blocks)
	resp.Diagnostics.Append(diags...)
	model.CIDRBlocks = list
	resp.Diagnostics.Append(resp.State.Set(ctx, model)...)
}
