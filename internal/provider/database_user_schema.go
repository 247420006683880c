package provider

import (
	"context"
	"math"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

func (*databaseUserResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A database user (in PostgreSQL's words, a role that can log in) for Stitch. It can do nothing but log in until it is granted rights: " +
			"`stitch_source_grants` for the database that it reads, `stitch_destination_grants` for the one that it loads into.\n\n" +
			"The password is never stored by Terraform. The server gets a verifier that the provider computes, so that no statement and no server log shows the password. " +
			"The private state holds a hash, under a random key, of the SCRAM-SHA-256 verifier. If the login of the server entry can read `pg_authid`, as a superuser can, " +
			"the provider uses that hash to detect that the password was changed on the server, and plans to set it again. An imported user has no such hash until its password is set.\n\n" +
			"The server entry's login must be allowed to create roles: a superuser, or a role with `CREATEROLE`. If it lacks a privilege, nothing is changed, and the error lists the SQL for an administrator who has it.\n\n" +
			"Destroying drops the user, unless objects or privileges depend on it: then the error lists them by database, and nothing is changed. See `reassign_owned_to`. An imported user is dropped as well; the plan warns about it. " +
			"A user that is replaced by one of the same name (`-replace`, `terraform taint`) keeps what it owns and what was granted to it.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the user, exactly as PostgreSQL stores it. Changing it creates a new user.",
				Required:            true,
				Validators:          []validator.String{validName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"password_wo":         passwordAttribute(),
			"password_wo_version": passwordVersionAttribute(),
			"password_encryption": schema.StringAttribute{
				MarkdownDescription: "What the server keeps of the password: `scram-sha-256`, the default, or `md5`. `md5` is for clients, or servers older than PostgreSQL 10, that do not support `scram-sha-256`: " +
					"anyone who reads it can log in with it, and the provider does not notice a change on the server. Changing this attribute sends the password again.",
				Optional:   true,
				Computed:   true,
				Default:    stringdefault.StaticString(postgres.SCRAM),
				Validators: []validator.String{stringvalidator.OneOf(postgres.SCRAM, postgres.MD5)},
			},
			"connection_limit": schema.Int64Attribute{
				MarkdownDescription: "How many connections the user can have at once; `-1`, the default, means no limit.",
				Optional:            true,
				Computed:            true,
				Default:             int64default.StaticInt64(-1),
				Validators:          []validator.Int64{int64validator.Between(-1, math.MaxInt32)},
			},
			"valid_until": schema.StringAttribute{
				MarkdownDescription: "When the password expires, such as `2030-01-31T12:00:00Z` (RFC 3339), or `infinity`. Without it, the password never expires. PostgreSQL checks it at each login with the password; open sessions continue.",
				Optional:            true,
				Validators:          []validator.String{validInstant{}},
				PlanModifiers:       []planmodifier.String{sameInstant{}},
			},
			"replication": schema.BoolAttribute{
				MarkdownDescription: "Whether the user can replicate: `REPLICATION` or, on managed servers where the login cannot set that, membership in `rds_replication` or `mdb_replication`. Default `false`. " +
					"`FULL_TABLE` and `INCREMENTAL` replication do not need it.",
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(false),
			},
			"bypass_rls": bypassRLSAttribute(),
			"roles":      rolesAttribute(),
			"excess":     powersAttribute(),
			"parameters": parametersAttribute(),
			"login": schema.BoolAttribute{
				MarkdownDescription: "Whether the user can log in. This is always `true` after an apply: if `LOGIN` was revoked on the server, the next apply restores it.",
				Computed:            true,
				Default:             booldefault.StaticBool(true),
			},
			"reassign_owned_to":  reassignAttribute(),
			"terminate_sessions": terminateAttribute(),
		},
	}
}

func passwordAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Password of the user. It is write-only: it is sent when the user is created and when `password_wo_version` changes, " +
			"and appears in neither the plan nor the state. It can come from an ephemeral variable or resource. " +
			"Without a password, the user can log in only where the server does not ask for one.",
		Optional:  true,
		WriteOnly: true,
		Validators: []validator.String{
			stringvalidator.LengthAtLeast(1),
			stringvalidator.AlsoRequires(path.MatchRoot("password_wo_version")),
			withoutZeroByte{},
		},
	}
}

func passwordVersionAttribute() schema.Int64Attribute {
	return schema.Int64Attribute{
		MarkdownDescription: "Version number of the password. Terraform cannot see that `password_wo` changed: raise this number to send it again. " +
			"If the password was changed on the server and the login can read `pg_authid`, a plan shows that this number is set again.",
		Optional:   true,
		Validators: []validator.Int64{int64validator.AlsoRequires(path.MatchRoot("password_wo"))},
	}
}

func parametersAttribute() schema.MapAttribute {
	return schema.MapAttribute{
		MarkdownDescription: "Parameters that sessions of the user start with, as set by `ALTER ROLE ... SET`: for example `{ statement_timeout = \"30min\" }`. " +
			"Without this attribute, parameters are left unchanged. With it, all other parameters that are set on the server are reset. See [parameters of a user](../guides/users-and-grants.md#parameters-of-a-user).",
		ElementType: types.StringType,
		Optional:    true,
		Validators:  []validator.Map{validParameters{}},
	}
}

func reassignAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Role that becomes the owner of what the user owns when the user is destroyed. The user's privileges are then revoked. " +
			"Apply it before destroying. Without it, a user that owns anything is not dropped. See [destroying a user](../guides/users-and-grants.md#destroying-a-user).",
		Optional:   true,
		Validators: []validator.String{validName()},
	}
}

func terminateAttribute() schema.BoolAttribute {
	return schema.BoolAttribute{
		MarkdownDescription: "Whether destroying the user ends its sessions; `false` by default. Apply it before destroying. See [destroying a user](../guides/users-and-grants.md#destroying-a-user).",
		Optional:            true,
		Computed:            true,
		Default:             booldefault.StaticBool(false),
	}
}

func bypassRLSAttribute() schema.BoolAttribute {
	return schema.BoolAttribute{
		MarkdownDescription: "Whether the user bypasses row-level security (`BYPASSRLS`), which it needs to read a table with policies. Default `false`. " +
			"Only a superuser can set it or, since PostgreSQL 16, a login that has it.",
		Optional: true,
		Computed: true,
		Default:  booldefault.StaticBool(false),
	}
}

func rolesAttribute() schema.SetAttribute {
	return schema.SetAttribute{
		MarkdownDescription: "Roles that the user is a member of, such as `rds_iam` to log in with tokens. The user can do everything that these roles can: do not name one that can read more than is replicated.",
		ElementType:         types.StringType,
		Optional:            true,
		Validators:          []validator.Set{setvalidator.ValueStringsAre(validName())},
	}
}

// powersAttribute shows drift as missingAttribute does.
func powersAttribute() schema.ListAttribute {
	return schema.ListAttribute{
		MarkdownDescription: "Attributes and memberships beyond the configuration that the user had at the last refresh: for example `SUPERUSER`, or `MEMBER OF admins` if `roles` does not name it. " +
			"Empty after each apply: a plan that shows items here removes them. Importing such a user gives a warning.",
		ElementType: types.StringType,
		Computed:    true,
		Default:     listdefault.StaticValue(stringList(nil)),
	}
}
