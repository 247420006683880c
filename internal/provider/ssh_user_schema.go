package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func (*sshUserResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A user of a Linux host that SSH tunnels log in as. It has no valid password, and logs in with the keys that `stitch_ssh_authorized_key` adds.\n\n" +
			"The login of the host's entry must be `root`, or a user with `sudo`. A user that already exists is not taken over unless it is imported, or is [what an earlier apply left](../index.md#after-a-process-that-died).\n\n" +
			"What would make sshd refuse the user's keys (owner and permissions of its home directory, of `~/.ssh` and of `authorized_keys` in it, a locked password, an expiry) appears in `problems`, and is repaired by the next apply.\n\n" +
			"Destroying removes a user that this resource created: a mark in its entry of `/etc/passwd` shows that. An imported user stays, with a warning. The home directory stays unless `remove_home` is set. A user of the same name that is created later gets it back, with the same uid and with the keys that were added to it by hand.",
		Attributes: map[string]schema.Attribute{
			"host": hostAttribute(),
			"username": schema.StringAttribute{
				MarkdownDescription: "Name of the user: at most 32 lower-case letters, digits, `_` and `-`. Changing it creates a new user.",
				Required:            true,
				Validators:          []validator.String{validUserName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"group":   ofUserAttribute("Group of the user, which must exist. By default, a group with the name of the user is created with it.", validGroupName()),
			"home":    ofUserAttribute("Home directory; `/home/` and the name by default. When it changes, the new directory is created, and no file is moved. It is created only in a directory that belongs to root and to which only root can write.", validHome()),
			"shell":   ofUserAttribute("Login shell, which must exist; `/bin/sh` by default. With a shell such as `/usr/sbin/nologin`, only tunnels work.", validShell()),
			"comment": ofUserAttribute("Comment on the user in `/etc/passwd`, such as a full name.", validUserComment()),
			"remove_home": schema.BoolAttribute{
				MarkdownDescription: "Whether destroying removes the home directory with everything in it, if it was created with the user and belongs to it; `false` by default. Apply it before destroying.",
				Optional:            true,
				Computed:            true,
				Default:             booldefault.StaticBool(false),
			},
			"terminate_processes": schema.BoolAttribute{
				MarkdownDescription: "Whether destroying ends the processes of the user, such as open tunnels; `false` by default. Otherwise, a user that has any is not removed, and the error lists them. Apply it before destroying.",
				Optional:            true,
				Computed:            true,
				Default:             booldefault.StaticBool(false),
			},
			"uid": schema.Int64Attribute{
				MarkdownDescription: "Numeric id of the user.",
				Computed:            true,
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"gid": schema.Int64Attribute{
				MarkdownDescription: "Numeric id of the user's group.",
				Computed:            true,
			},
			"problems": schema.ListAttribute{
				MarkdownDescription: "What would make sshd refuse the user's keys, as of the last refresh. Empty after each apply: a plan that shows items here repairs them.",
				ElementType:         types.StringType,
				Computed:            true,
				Default:             listdefault.StaticValue(stringList(nil)),
			},
		},
	}
}

// ofUserAttribute is an attribute that keeps its applied or imported value unless it is configured;
// see planSettled.
func ofUserAttribute(description string, valid validator.String) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: description,
		Optional:            true,
		Computed:            true,
		Validators:          []validator.String{valid},
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}
