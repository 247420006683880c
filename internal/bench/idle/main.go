// Idle is a provider for the benchmark. It has the schemas of the real one and does nothing: the
// time that Terraform takes with it, it takes with any provider.
package main

import (
	"context"
	"log"

	frameworkprovider "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/provider"
)

func main() {
	p := idleProvider{provider.New("idle")}
	err := providerserver.Serve(context.Background(), func() frameworkprovider.Provider { return p }, providerserver.ServeOpts{
		Address: "registry.terraform.io/terraform-stitch/stitch",
	})
	if err != nil {
		log.Fatal(err)
	}
}

type idleProvider struct{ *provider.Provider }

// Configure does nothing.
func (idleProvider) Configure(context.Context, frameworkprovider.ConfigureRequest, *frameworkprovider.ConfigureResponse) {
}

// Resources lists the resources of the real provider, idle.
func (p idleProvider) Resources(ctx context.Context) (all []func() resource.Resource) {
	for _, newReal := range p.Provider.Resources(ctx) {
		all = append(all, func() resource.Resource { return idleResource{newReal()} })
	}
	return all
}

// An idleResource has the name and the schema of a real one. It hides methods of the real one
// beyond resource.Resource, such as ModifyPlan.
type idleResource struct{ resource.Resource }

// Create stores the plan.
func (idleResource) Create(_ context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Read leaves the state unchanged.
func (idleResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

// Update stores the plan.
func (idleResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete does nothing.
func (idleResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
