package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// clients is what the provider hands to its resources and data sources.
type clients struct {
	servers     *pgclient.Servers // nil as long as none of them is known
	serverNames entries
	hosts       *sshclient.Hosts // nil as long as none of them is known
	hostNames   entries
	claims      *claims
	walk        *walk
	grantsPlans *grantsPlans
}

// entries holds the entries of an attribute of the provider block: servers, ssh_hosts.
type entries struct {
	attribute string
	noun      string              // what an entry is called in messages
	names     []string            // of all, sorted
	unknown   map[string][]string // by name: the unknown values because of which an entry cannot be reached
}

func (e *entries) add(name string) {
	e.names = append(e.names, name)
	slices.Sort(e.names)
}

// isUnknown notes that some attributes of an entry are not known yet.
func (e *entries) isUnknown(name string, attributes []string) {
	for _, attribute := range attributes {
		e.unknown[name] = append(e.unknown[name], e.attribute+"."+name+"."+attribute)
	}
}

// check returns why no entry of that name can be reached, or nil.
func (e entries) check(name string) error {
	if paths, unknown := e.unknown[name]; unknown {
		return &unknownError{paths}
	}
	if !slices.Contains(e.names, name) {
		return &noEntryError{name: name, in: e}
	}
	return nil
}

// An unknownError says that a server or SSH host cannot be reached yet because parts of its entry
// come from resources that Terraform has not created yet.
type unknownError struct{ paths []string } // such as servers.app.host

func (e *unknownError) Error() string {
	return strings.Join(e.paths, ", ") + " in the provider block is not known yet: it depends on something that does not exist yet. " +
		"Create that first (terraform apply -target=...), or give the provider a value that is known at plan time."
}

// A noEntryError says that the provider block has no entry of that name.
type noEntryError struct {
	name string
	in   entries
}

func (e *noEntryError) Error() string {
	known := "it has none"
	if len(e.in.names) > 0 {
		known = "it has " + strings.Join(e.in.names, ", ")
	}
	return fmt.Sprintf("%s of the provider block has no entry %q: %s. Correct the name. If the entry was renamed, or another entry leads to the same %s, "+
		"use that name instead and apply: existing objects stay as they are. To destroy objects that were created through a removed entry, add the entry again until they are destroyed",
		e.in.attribute, e.name, known, e.in.noun)
}

// configured is embedded by every resource and gives it the provider's clients.
type configured struct{ *clients }

func (c *configured) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	c.clients, _ = req.ProviderData.(*clients) // nil until the provider itself is configured
}

// configuredDataSource does the same for data sources.
type configuredDataSource struct{ *clients }

func (c *configuredDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	c.clients, _ = req.ProviderData.(*clients)
}

// server returns the server that an entry of the provider block names.
func (c *clients) server(name string) (*pgclient.Server, error) {
	if c == nil || c.servers == nil {
		return nil, &unknownError{[]string{"servers"}}
	}
	if err := c.serverNames.check(name); err != nil {
		return nil, err
	}
	s, _ := c.servers.Server(name)
	return s, nil
}

// serverToChange is server for an operation that changes something on the server. It adds what the
// user must know about the change to diags.
func (c *clients) serverToChange(name string, diags *diag.Diagnostics) (*pgclient.Server, error) {
	s, err := c.server(name)
	if err != nil {
		return nil, err
	}
	return s.Warning(func(w pgclient.Warning) { diags.AddWarning(w.Summary, w.Detail) }), nil
}

// host returns the SSH host that an entry of the provider block names.
func (c *clients) host(name string) (*sshclient.Host, error) {
	if c == nil || c.hosts == nil {
		return nil, &unknownError{[]string{"ssh_hosts"}}
	}
	if err := c.hostNames.check(name); err != nil {
		return nil, err
	}
	h, _ := c.hosts.Host(name)
	return h, nil
}

// checkServer reports at plan time that the provider block has no such entry.
func (c *clients) checkServer(at path.Path, name types.String) diag.Diagnostics {
	if c == nil || c.servers == nil {
		return nil
	}
	return c.serverNames.checkReference(at, name)
}

// checkHost is checkServer for SSH hosts.
func (c *clients) checkHost(at path.Path, name types.String) diag.Diagnostics {
	if c == nil || c.hosts == nil {
		return nil
	}
	return c.hostNames.checkReference(at, name)
}

func (e entries) checkReference(at path.Path, name types.String) (diags diag.Diagnostics) {
	if name.IsNull() || name.IsUnknown() {
		return nil
	}
	var missing *noEntryError
	if errors.As(e.check(name.ValueString()), &missing) {
		diags.AddAttributeError(at, "No such "+e.noun, missing.Error()+".")
	}
	return diags
}

// ModifyPlan checks the attribute "server". Without this check, Terraform would plan a misspelt
// name as a replacement, which begins with a destroy.
func (c *configured) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	checkPlanned(ctx, req, resp, "server", c.checkServer)
}

// onHost does the same as configured, for resources that live on an SSH host.
type onHost struct{ configured }

// ModifyPlan checks the attribute "host", for the same reason.
func (c *onHost) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	checkPlanned(ctx, req, resp, "host", c.checkHost)
}

func checkPlanned(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse, attribute string, check func(path.Path, types.String) diag.Diagnostics) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var name types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root(attribute), &name)...)
	resp.Diagnostics.Append(check(path.Root(attribute), name)...)
}

// serverToRead is server for Read and plans: all resources share one failed dial of the server.
func (c *clients) serverToRead(name string) (*pgclient.Server, error) {
	s, err := c.server(name)
	if err != nil {
		return nil, err
	}
	return s.Planning(), nil
}

// hostToRead is host for Read and plans.
func (c *clients) hostToRead(name string) (*sshclient.Host, error) {
	h, err := c.host(name)
	if err != nil {
		return nil, err
	}
	return h.Planning(), nil
}

// close closes the idle connections.
func (c *clients) close() {
	if c.servers != nil {
		c.servers.Close()
	}
	if c.hosts != nil {
		c.hosts.Close()
	}
}

// closeSessionsOf closes what this process may have open as a user of an SSH host who is about to
// be removed: tunnels of idle connections to servers, and commands.
func (c *clients) closeSessionsOf(username string) {
	if c.servers != nil {
		c.servers.Close()
	}
	c.hosts.CloseOf(username)
}

// serverAttribute is the attribute "server" of every resource that lives on one.
func serverAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Key of the entry in the provider's `servers` that is used to manage this. Another entry that leads to the same server, or a new name for this entry, is a change in place. An entry that leads elsewhere replaces this resource.",
		Required:            true,
	}
}

// hostAttribute is the attribute "host" of every resource that lives on an SSH host.
func hostAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Key of the entry in the provider's `ssh_hosts` that is used to manage this. Another entry that leads to the same host, or a new name for this entry, is a change in place. An entry that leads elsewhere replaces this resource.",
		Required:            true,
	}
}
