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
			MarkdownDescription: "Key of the entry in the provider's `servers` to log in with. To check what runs need, use the entry that runs use.",
			Required:            true,
		},
		"database": schema.StringAttribute{
			MarkdownDescription: "Database to connect to. By default, it is the database of the entry.",
			Optional:            true,
			Computed:            true,
			Validators:          []validator.String{validName()},
		},
		"use_as": schema.StringAttribute{
			MarkdownDescription: "What runs use the login for: `source` or `destination`. Without it, the check covers only the connection and the server, not the rights.",
			Optional:            true,
			Validators:          []validator.String{stringvalidator.OneOf(string(preflight.UseAsSource), string(preflight.UseAsDestination))},
		},
		"schemas": schema.SetAttribute{
			MarkdownDescription: "At a source: schemas whose tables and views runs read, including tables and views that are created later. At a destination: schemas that runs load into, if they already exist.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Set{setvalidator.NoNullValues(), setvalidator.ValueStringsAre(validName())},
		},
		"tables": schema.MapNestedAttribute{
			MarkdownDescription: "At a source: tables and views to read, by `schema.table`, written as in a `stitch_replication`. You can use the map of a `stitch_replication` here: its other arguments are ignored.",
			Optional:            true,
			Validators:          []validator.Map{mapvalidator.NoNullValues()},
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"replication_key": schema.StringAttribute{
					MarkdownDescription: "Replication key of the table, if it has one: the column that should have an index.",
					Optional:            true,
				},
			}},
		},
		"without_index": schema.SetAttribute{
			MarkdownDescription: "Tables of `tables` whose replication key needs no index: the check gives no advice about them.",
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
		MarkdownDescription: "Logs in to a server as runs do, and checks whether they will work: the server's version, encryption, a pooling proxy in between, the settings of a standby, " +
			"each privilege that Stitch's documents require, indexes on replication keys, and row-level security. Warnings and `advice` say what to do. " +
			"It fails only if it cannot log in, and says why.\n\n" +
			"The check changes nothing, takes no lock that others wait for, and uses one connection, or two where a proxy pools sessions. " +
			"It runs at plan time. If it depends on something that does not exist yet (`depends_on`), it runs during the apply. " +
			"To stop the plan or the apply unless everything is fine, use `ready` in a `postcondition`.",
		Attributes: attributes,
	}
}

func checkResultAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"ready": schema.BoolAttribute{
			MarkdownDescription: "Whether the check found nothing that makes runs fail. Advice, for instance about speed or encryption, does not change it.",
			Computed:            true,
		},
		"advice": schema.ListAttribute{
			MarkdownDescription: "What to do about each finding, one text for each. The same texts appear as warnings.",
			Computed:            true,
			ElementType:         types.StringType,
		},
		"privileges": schema.ListNestedAttribute{
			MarkdownDescription: "The privileges that `use_as` requires, and whether the login has them. It does not matter how it has a privilege: as a member of a role, through `PUBLIC`, as owner or as superuser.",
			Computed:            true,
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"privilege": computedString("`CONNECT`, `USAGE`, `SELECT`, `CREATE` or `TEMPORARY`; `OWNERSHIP` of a schema that runs load into and that already exists."),
				"object":    computedString("Object of the privilege, such as `TABLE public.orders` or `ALL TABLES IN SCHEMA billing`."),
				"held":      schema.BoolAttribute{MarkdownDescription: "Whether the login has the privilege.", Computed: true},
				"reason":    computedString("What the privilege is required for."),
			}},
		},
		"replication_keys_without_index": schema.MapAttribute{
			MarkdownDescription: "Tables of `tables` with a replication key that no index starts with, and the key. An index that is partial, invalid or unordered does not count. Each partition is checked separately.",
			Computed:            true,
			ElementType:         types.StringType,
		},
		"row_level_security": schema.ListAttribute{
			MarkdownDescription: "Tables of `tables` and `schemas` in which row-level security hides rows from this login. Runs fail on them.",
			Computed:            true,
			ElementType:         types.StringType,
		},
	}
}

func checkConnectionAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"tls":            schema.BoolAttribute{MarkdownDescription: "Whether the connection is encrypted.", Computed: true},
		"tls_version":    computedString("TLS version, such as `TLS 1.3`."),
		"tls_cipher":     computedString("TLS cipher suite, by its IANA name."),
		"client_address": computedString("Address that the server saw the connection come from: the address to let in. Behind a proxy that pools sessions, it is the address of the proxy. Null for a Unix socket."),
		"server_address": computedString("Address of the server, as the server reports it."),
		"server_port":    schema.Int64Attribute{MarkdownDescription: "Port of the server, as the server reports it.", Computed: true},
		"pooling": computedString("`none` without a proxy; `session` behind a proxy such as PgBouncer that assigns a session for as long as a connection lasts; " +
			"`transaction` behind a proxy that assigns it for a shorter time; or `unknown`, for instance because `max_connections` is 1. " +
			"Runs and grants refuse the last two, because locks, settings and temporary tables would be lost."),
		"username":  computedString("The database user that the login acts as."),
		"superuser": schema.BoolAttribute{MarkdownDescription: "Whether that user is a superuser. Runs do not need one.", Computed: true},
	}
}

func checkServerAttributes() map[string]schema.Attribute {
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{MarkdownDescription: description, Computed: true}
	}
	return map[string]schema.Attribute{
		"version":       computedString("Version of the server, as the server reports it."),
		"major_version": number("Major version of the server. The hosted service supports 9.3 and newer; this engine needs 10 or newer."),
		"tested":        schema.BoolAttribute{MarkdownDescription: "Whether this release of the provider was tested with that major version.", Computed: true},
		"tested_major_versions": schema.ListAttribute{
			MarkdownDescription: "The major versions that this release was tested with. Those between them are expected to work.",
			Computed:            true,
			ElementType:         types.Int64Type,
		},
		"standby":                     schema.BoolAttribute{MarkdownDescription: "Whether the server is a standby. Stitch's documents recommend reading from a standby instead of a busy primary.", Computed: true},
		"hot_standby":                 computedString("The setting `hot_standby`. This setting and the next ones matter on a standby, and are those of the standby itself."),
		"max_standby_archive_delay":   computedString("The setting `max_standby_archive_delay`. On a standby, 8 to 12 hours are recommended for the first replication of tables."),
		"max_standby_streaming_delay": computedString("The setting `max_standby_streaming_delay`, with the same recommendation."),
		"hot_standby_feedback":        computedString("The setting `hot_standby_feedback`."),
		"wal_level":                   computedString("The setting `wal_level`; `LOG_BASED` replication, which is not supported yet, needs `logical`."),
		"max_replication_slots":       number("The setting `max_replication_slots`."),
		"replication_slots":           number("How many replication slots there are."),
		"max_wal_senders":             number("The setting `max_wal_senders`."),
		"wal_senders":                 number("How many WAL senders are active."),
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
