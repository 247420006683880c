package provider

import (
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// addHosts prepares the SSH hosts of the provider block. It leaves out hosts that are not known
// yet, and those that are reached through them.
func (c *clients) addHosts(ctx context.Context, block types.Map) diag.Diagnostics {
	c.hostNames = entries{attribute: "ssh_hosts", noun: "SSH host", unknown: map[string][]string{}}
	if block.IsUnknown() {
		return nil // resources then report that it is not known
	}
	models, diags := decodeEntries[sshHostModel](ctx, block, &c.hostNames)
	configs := map[string]sshclient.Config{}
	for name, model := range models {
		config, missing := model.toConfig()
		if len(missing) > 0 {
			c.hostNames.isUnknown(name, missing)
			continue
		}
		diags.Append(checkHostOf("ssh_hosts", name, config.Host)...)
		configs[name] = config
	}
	for name, config := range configs {
		if jump := config.JumpHost; jump != "" {
			diags.Append(c.hostNames.checkReference(path.Root("ssh_hosts").AtMapKey(name).AtName("jump_host"), types.StringValue(jump))...)
		}
	}
	if diags.HasError() {
		return diags
	}
	var loop *sshclient.JumpError
	if err := sshclient.CheckJumps(configs); errors.As(err, &loop) {
		diags.AddAttributeError(path.Root("ssh_hosts").AtMapKey(loop.Name).AtName("jump_host"), "Jump hosts form a loop", err.Error()+".")
	}
	for name := range configs {
		if paths := c.hostNames.unknownOnTheWay(configs, name); paths != nil {
			c.hostNames.unknown[name] = paths
		}
	}
	for name := range c.hostNames.unknown {
		delete(configs, name)
	}
	c.hosts = sshclient.NewHosts(configs)
	return diags
}

// unknownOnTheWay returns what is unknown about the hosts that lead to a host.
func (e entries) unknownOnTheWay(configs map[string]sshclient.Config, name string) []string {
	for range len(configs) + 1 { // no path is longer: its last host may have no Config
		if paths, unknown := e.unknown[name]; unknown {
			return paths
		}
		name = configs[name].JumpHost
	}
	return nil
}

// addServers prepares the servers of the provider block, after the SSH hosts.
func (c *clients) addServers(ctx context.Context, block types.Map) diag.Diagnostics {
	c.serverNames = entries{attribute: "servers", noun: "server", unknown: map[string][]string{}}
	if block.IsUnknown() {
		return nil
	}
	models, diags := decodeEntries[serverModel](ctx, block, &c.serverNames)
	configs := map[string]pgclient.Config{}
	for name, model := range models {
		config, missing := model.toConfig()
		if len(missing) > 0 {
			c.serverNames.isUnknown(name, missing)
			continue
		}
		diags.Append(checkHostOf("servers", name, config.Host)...)
		if !model.SSHHost.IsNull() {
			host, err := c.host(model.SSHHost.ValueString())
			var unknown *unknownError
			switch {
			case errors.As(err, &unknown):
				c.serverNames.unknown[name] = unknown.paths
				continue
			case err != nil:
				diags.AddAttributeError(path.Root("servers").AtMapKey(name).AtName("ssh_host"), "No such SSH host", err.Error()+".")
				continue
			}
			config.SSHHost = host
		}
		configs[name] = config
	}
	c.servers = pgclient.NewServers(configs)
	return diags
}

// decodeEntries returns the entries of a map. It notes the names of all entries, and which of them
// are unknown as a whole.
func decodeEntries[M any](ctx context.Context, block types.Map, e *entries) (map[string]M, diag.Diagnostics) {
	models := map[string]M{}
	var diags diag.Diagnostics
	for name, element := range block.Elements() {
		e.add(name)
		object, ok := element.(types.Object)
		if !ok || object.IsUnknown() {
			e.unknown[name] = []string{e.attribute + "." + name}
			continue
		}
		var model M
		diags.Append(object.As(ctx, &model, basetypes.ObjectAsOptions{})...)
		models[name] = model
	}
	return models, diags
}

// checkHostOf refuses what validHost refuses, for a host that was still unknown to validHost.
func checkHostOf(attribute, name, host string) (diags diag.Diagnostics) {
	if text := hostMistake(host); text != "" {
		diags.AddAttributeError(path.Root(attribute).AtMapKey(name).AtName("host"), "Invalid host", text)
	}
	return diags
}

// lines returns the lines of a text that are not blank.
func lines(text string) (result []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			result = append(result, line)
		}
	}
	return result
}
