package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// clients is what the provider gives to its resources and data sources.
type clients struct {
	servers *postgres.Servers
	names   []string            // of all servers, sorted
	unknown map[string][]string // by server: its attributes that are not known yet; none if it is the whole entry
}

// configured is embedded by every resource and gives it the provider's clients.
type configured struct{ *clients }

func (c *configured) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	c.clients, _ = req.ProviderData.(*clients) // nil until the provider itself is configured
}

// configuredDataSource is what configured is, for data sources.
type configuredDataSource struct{ *clients }

func (c *configuredDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	c.clients, _ = req.ProviderData.(*clients)
}

// An unknownError says that a server can not be reached yet because parts of
// its entry come from resources that are still to be created.
type unknownError struct {
	server     string // "" if it is all of them
	attributes []string
}

func (e *unknownError) Error() string {
	names := make([]string, len(e.attributes))
	for i, attribute := range e.attributes {
		names[i] = "servers." + e.server + "." + attribute
	}
	switch {
	case e.server == "":
		names = []string{"servers"}
	case len(names) == 0:
		names = []string{"servers." + e.server}
	}
	return strings.Join(names, ", ") + " in the provider block is not known yet: it depends on something that is still to be created. " +
		"Create that first (terraform apply -target=...), or give the provider a value that is known when it plans."
}

// server returns the server that an entry of the provider block names.
func (c *clients) server(name string) (*postgres.Server, error) {
	if c == nil || c.servers == nil {
		return nil, &unknownError{}
	}
	if attributes, unknown := c.unknown[name]; unknown {
		return nil, &unknownError{server: name, attributes: attributes}
	}
	if s, ok := c.servers.Server(name); ok {
		return s, nil
	}
	return nil, &noServerError{name: name, names: c.names}
}

// A noServerError says that the provider block has no entry of that name.
type noServerError struct {
	name  string
	names []string
}

func (e *noServerError) Error() string {
	known := "it has none"
	if len(e.names) > 0 {
		known = "it has " + strings.Join(e.names, ", ")
	}
	return fmt.Sprintf("servers of the provider block has no entry %q: %s", e.name, known)
}

// checkServer finds out when planning that the provider block has no such entry.
func (c *clients) checkServer(at path.Path, name types.String) (diags diag.Diagnostics) {
	if c == nil || c.servers == nil || name.IsNull() || name.IsUnknown() {
		return nil
	}
	var missing *noServerError
	if _, err := c.server(name.ValueString()); errors.As(err, &missing) {
		diags.AddAttributeError(at, "No such server", err.Error()+".")
	}
	return diags
}

// ModifyPlan checks the attribute "server". Without that, a misspelt one would
// be planned as a replacement, which begins by destroying.
func (c *configured) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var name types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("server"), &name)...)
	resp.Diagnostics.Append(c.checkServer(path.Root("server"), name)...)
}

// serverToRead is server for Read and plans: one failed dial of the server is
// shared by all resources.
func (c *clients) serverToRead(name string) (*postgres.Server, error) {
	s, err := c.server(name)
	if err != nil {
		return nil, err
	}
	return s.Planning(), nil
}

func newClients(configs map[string]postgres.Config, unknown map[string][]string) *clients {
	names := slices.Sorted(maps.Keys(configs))
	for name := range unknown {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return &clients{servers: postgres.NewServers(configs), names: names, unknown: unknown}
}

// serverAttribute is the attribute "server" of every resource that lives on one.
func serverAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Key of the entry in the provider's `servers` that is used to manage this. Changing it, also by renaming the entry, creates a new one.",
		Required:            true,
		PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
	}
}
