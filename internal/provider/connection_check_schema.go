package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/preflight"
)

// Schema describes the data source.
func (*connectionCheckDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := map[string]schema.Attribute{
		"server": schema.StringAttribute{
			MarkdownDescription: "Key of the entry in the provider's `servers` to log in with: for what runs need, the one that runs use.",
			Required:            true,
		},
		"database": schema.StringAttribute{
			MarkdownDescription: "Database to connect to; that of the entry by default.",
			Optional:            true,
			Computed:            true,
			Validators:          []validator.String{validName()},
		},
		"use_as": schema.StringAttribute{
			MarkdownDescription: "What runs are to use the login as: `source` or `destination`. Without it, only the connection and the server are looked at, no rights.",
			Optional:            true,
			Validators:          []validator.String{stringvalidator.OneOf(string(preflight.UseAsSource), string(preflight.UseAsDestination))},
		},
		"schemas": schema.SetAttribute{
			MarkdownDescription: "At a source: schemas whose tables and views runs read, including those that are created later. At a destination: schemas that runs load into, as far as they exist already.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Set{setvalidator.NoNullValues(), setvalidator.ValueStringsAre(validName())},
		},
		"tables": schema.MapNestedAttribute{
			MarkdownDescription: "At a source: tables and views to read, by `schema.table`, written like those of a `stitch_replication`. The map of one fits here: what else it says of its tables is ignored.",
			Optional:            true,
			Validators:          []validator.Map{mapvalidator.NoNullValues()},
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"replication_key": schema.StringAttribute{
					MarkdownDescription: "Its replication key, if it has one: the column that should have an index.",
					Optional:            true,
				},
			}},
		},
		"without_index": schema.SetAttribute{
			MarkdownDescription: "Those of `tables` whose replication key may do without an index: nothing is advised about them.",
			Optional:            true,
			ElementType:         types.StringType,
		},
	}
	for _, more := range []map[string]schema.Attribute{checkResultAttributes(), checkConnectionAttributes(), checkServerAttributes()} {
		for name, attribute := range more {
			attributes[name] = attribute
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Logs in to a server as runs do, and checks whether they will work: its version, encryption, a pooling proxy in between, the settings of a standby, " +
			"each privilege that Stitch's documents require, indexes on replication keys, and row-level security. It says what to do as warnings, and in `advice`. " +
			"It fails only if it cannot log in, and says why.\n\n" +
			"The check changes nothing, takes no lock that others wait for, and uses one connection, or two where a proxy pools sessions. " +
			"It is made when planning; one that depends on what is still to be created (`depends_on`) is made when applying. " +
			"To stop there unless all is well, use `ready` in a `postcondition`.",
		Attributes: attributes,
	}
}

func checkResultAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"ready": schema.BoolAttribute{
			MarkdownDescription: "Whether nothing was found that makes runs fail. Advice, for instance about speed or encryption, leaves it `true`.",
			Computed:            true,
		},
		"advice": schema.ListAttribute{
			MarkdownDescription: "What to do about what was found, one text each. The same is given as warnings.",
			Computed:            true,
			ElementType:         types.StringType,
		},
		"privileges": schema.ListNestedAttribute{
			MarkdownDescription: "The privileges that `use_as` takes, held or not. A privilege counts however it is held: as a member of a role, through `PUBLIC`, as owner or as superuser.",
			Computed:            true,
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"privilege": computedString("`CONNECT`, `USAGE`, `SELECT`, `CREATE` or `TEMPORARY`; `OWNERSHIP` of a schema that is loaded into and exists already."),
				"object":    computedString("What it is on, such as `TABLE public.orders` or `ALL TABLES IN SCHEMA billing`."),
				"held":      schema.BoolAttribute{MarkdownDescription: "Whether the login has it.", Computed: true},
				"reason":    computedString("What it is required for."),
			}},
		},
		"replication_keys_without_index": schema.MapAttribute{
			MarkdownDescription: "Of `tables`, those with a replication key that no index starts with, and the key. An index that is partial, not valid or of no order does not count; partitions are looked at one by one.",
			Computed:            true,
			ElementType:         types.StringType,
		},
		"row_level_security": schema.ListAttribute{
			MarkdownDescription: "Tables of `tables` and `schemas` that row-level security hides rows of from this login. Runs fail on them.",
			Computed:            true,
			ElementType:         types.StringType,
		},
	}
}

func checkConnectionAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"tls":            schema.BoolAttribute{MarkdownDescription: "Whether the connection is encrypted.", Computed: true},
		"tls_version":    computedString("Version of TLS, such as `TLS 1.3`."),
		"tls_cipher":     computedString("Its cipher suite, as IANA calls it."),
		"client_address": computedString("Where the connection came from, as the server saw it: the address to let in. Behind a proxy that pools sessions, that of the proxy. Null through a Unix socket."),
		"server_address": computedString("Address of the server, as it knows it."),
		"server_port":    schema.Int64Attribute{MarkdownDescription: "Port of the server, as it knows it.", Computed: true},
		"pooling": computedString("`none` without a proxy, `session` behind a proxy such as PgBouncer that lends a session for as long as a connection lasts, " +
			"`transaction` behind one that lends it for shorter, or `unknown`, for instance because `max_connections` is 1. " +
			"Runs and grants refuse the last two, because locks, settings and temporary tables would be lost."),
		"username":  computedString("The database user that the login acts as."),
		"superuser": schema.BoolAttribute{MarkdownDescription: "Whether that is a superuser, which runs need not be.", Computed: true},
	}
}

func checkServerAttributes() map[string]schema.Attribute {
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{MarkdownDescription: description, Computed: true}
	}
	return map[string]schema.Attribute{
		"version":       computedString("Version of the server, as it writes it."),
		"major_version": number("Major version of the server. The hosted service takes 9.3 and newer; this engine needs 10 or newer."),
		"tested":        schema.BoolAttribute{MarkdownDescription: "Whether this release of the provider was tested with that major version.", Computed: true},
		"tested_major_versions": schema.ListAttribute{
			MarkdownDescription: "The major versions that it was tested with. Those between them are expected to work.",
			Computed:            true,
			ElementType:         types.Int64Type,
		},
		"standby":                     schema.BoolAttribute{MarkdownDescription: "Whether the server is a standby. Stitch's documents advise to read from one rather than from a busy primary.", Computed: true},
		"hot_standby":                 computedString("The setting `hot_standby`. This and the next ones matter on a standby, and are its own."),
		"max_standby_archive_delay":   computedString("The setting `max_standby_archive_delay`, for which 8 to 12 hours are advised on a standby while tables are first replicated."),
		"max_standby_streaming_delay": computedString("The setting `max_standby_streaming_delay`, likewise."),
		"hot_standby_feedback":        computedString("The setting `hot_standby_feedback`."),
		"wal_level":                   computedString("The setting `wal_level`; `LOG_BASED` replication, which is not built yet, takes `logical`."),
		"max_replication_slots":       number("The setting `max_replication_slots`."),
		"replication_slots":           number("How many replication slots there are."),
		"max_wal_senders":             number("The setting `max_wal_senders`."),
		"wal_senders":                 number("How many WAL senders are at work."),
	}
}

func computedString(description string) schema.StringAttribute {
	return schema.StringAttribute{MarkdownDescription: description, Computed: true}
}

// privilegeType is the type of an element of privileges.
func privilegeType() types.ObjectType {
	return types.ObjectType{AttrTypes: map[string]attr.Type{
		"privilege": types.StringType, "object": types.StringType, "held": types.BoolType, "reason": types.StringType,
	}}
}
