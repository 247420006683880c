package provider

import (
	"context"
	"math"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// Schema says what can be configured of a database.
func (*destinationDatabaseResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A database for Stitch to load into. Keep it apart from the databases that applications write to: " +
			"loaded data takes space and time, and is best dropped or restored separately.\n\n" +
			"The server entry's login must be allowed to create databases: a superuser, or a role with `CREATEDB`. " +
			"The user that loads then needs `stitch_destination_grants`.\n\n" +
			"Encoding, locale and template are chosen when a database is created, and cannot be changed: another value replaces the database, and the plan warns about that. " +
			"Values that are not configured are those of the server. If a database cannot be created as configured, it is dropped again.\n\n" +
			"Destroying drops the database; if it was imported, the plan warns about that. Unless `force_destroy` is set, a database that holds tables or large objects is kept, and the error lists them. " +
			"Tables that an extension creates do not count, unless it registers them as user data (`pg_extension_config_dump`, without a condition) and they have rows, as `cron.job` does. " +
			"A table that was added to an extension later (`ALTER EXTENSION ... ADD TABLE`) counts. After `pg_upgrade`, so does each table of an extension that the extension has not registered. " +
			"Sessions of other programs are not ended unless `terminate_sessions` is set: if they stay connected, the error lists them.",
		Attributes: map[string]schema.Attribute{
			"server": serverAttribute(),
			"name": schema.StringAttribute{
				MarkdownDescription: "Name of the database, exactly as PostgreSQL stores it. Changing it creates a new database, and drops this one.",
				Required:            true,
				Validators:          []validator.String{validName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"owner": ownerAttribute("database"),
			"encoding": fixedAttribute("Encoding of the database, as PostgreSQL spells it: `UTF8`, `LATIN1`, `SQL_ASCII` and so on. "+
				"Rows are converted to the encoding of the destination: `UTF8` can represent all of them.", stringvalidator.OneOf(postgres.Encodings...)),
			"lc_collate": fixedAttribute("Locale of the operating system that determines how text is sorted, such as `C` or `en_US.UTF-8`. "+
				"PostgreSQL's `LOCALE` sets both this and `lc_ctype`.", validText()),
			"lc_ctype": fixedAttribute("Locale of the operating system that determines which characters are letters, and which are upper-case.", validText()),
			"locale_provider": fixedAttribute("Provider of locales: `libc`; with PostgreSQL 15 or newer also `icu`, which needs `icu_locale`; "+
				"with 17 or newer also `builtin`, which needs `builtin_locale`.", stringvalidator.OneOf(postgres.LocaleProviders...)),
			"icu_locale": fixedAttribute("Locale of the provider `icu`, such as `de-DE` or `und`, as a language tag: the server stores it in that form. "+
				"PostgreSQL 15 or newer.", validText()),
			"builtin_locale": fixedAttribute("Locale of the provider `builtin`: `C`, `C.UTF-8` or, with PostgreSQL 18 or newer, `PG_UNICODE_FAST`. "+
				"PostgreSQL 17 or newer.", validText()),
			"template": schema.StringAttribute{
				MarkdownDescription: "Database that this database is created as a copy of, `template1` by default. Use `template0` to choose an encoding or a locale that differs from that of `template1`. " +
					"The server does not record it: an imported database has none, and configuring one later does not replace the database.",
				Optional:   true,
				Validators: []validator.String{validName()},
			},
			"connection_limit": schema.Int64Attribute{
				MarkdownDescription: "How many connections the database can have at once, not counting superusers; `-1`, the default for a new database, means no limit.",
				Optional:            true,
				Computed:            true,
				Validators:          []validator.Int64{int64validator.Between(-1, math.MaxInt32)},
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"comment":       commentAttribute("database"),
			"force_destroy": forceDestroyAttribute("the database together with all tables in it"),
			"terminate_sessions": schema.BoolAttribute{
				MarkdownDescription: "Whether destroying ends other sessions that are connected to the database. `false` by default. Apply it before destroying. " +
					"A login that is not a superuser must be a member of the roles of these sessions, or of `pg_signal_backend`.",
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(false),
			},
		},
	}
}

// fixedAttribute is an attribute that PostgreSQL cannot change. ModifyPlan replaces the database
// instead.
func fixedAttribute(description string, validators ...validator.String) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: description,
		Optional:            true,
		Computed:            true,
		Validators:          validators,
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

// commentAttribute is the attribute "comment". To the server, no comment and an empty one are the
// same; both are "" here.
func commentAttribute(noun string) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Comment on the " + noun + ", as psql and other tools show it; `\"\"` means none. A comment that is no longer configured stays.",
		Optional:            true,
		Computed:            true,
		Validators:          []validator.String{validComment()},
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

// ownerAttribute is the attribute "owner". An owner that is no longer configured stays the owner:
// the configuration names no other.
func ownerAttribute(noun string) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: "Role that owns the " + noun + ". It is changed in place. By default, the login of the server entry owns it at first, and a later change of owner is left unchanged. " +
			"A login that is not a superuser [must be able to become a member](../guides/users-and-grants.md#administrators-who-are-not-superusers) of the role.",
		Optional:      true,
		Computed:      true,
		Validators:    []validator.String{validName()},
		PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

// forceDestroyAttribute is the attribute "force_destroy" of resources that hold data.
func forceDestroyAttribute(what string) schema.BoolAttribute {
	return schema.BoolAttribute{
		MarkdownDescription: "Whether destroying drops " + what + ". `false` by default. Apply it before destroying.",
		Optional:            true,
		Computed:            true,
		Default:             booldefault.StaticBool(false),
	}
}
