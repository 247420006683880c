package provider

import (
	"context"
	"regexp"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
)

// maxLateCommitWindow is longer than any transaction should take: each run reads that much of each
// table again.
const maxLateCommitWindow = 30 * 24 * time.Hour

// maxSnapshotMinutes is a week.
const maxSnapshotMinutes = 7 * 24 * 60

// Schema describes the resource.
func (*replicationResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Defines what is replicated from a source database into a destination database. " +
			"The definition is stored in the destination, in the schema `_stitch`; a `stitch_sync_run` runs it. " +
			"Destroying a replication leaves the loaded tables, unless `force_destroy` is set.",
		Attributes: map[string]schema.Attribute{
			"id": schema.StringAttribute{
				MarkdownDescription: "`<destination server>/<destination database>/<schema name>`, each part percent-encoded.",
				Computed:            true,
			},
			"name": schema.StringAttribute{
				MarkdownDescription: "Display name of the replication. The schema name is derived from it when the replication is created.",
				Required:            true,
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"schema_name": schema.StringAttribute{
				MarkdownDescription: "Schema of the destination that tables are loaded into. By default, it is derived from `name`: " +
					"`Shop PostgreSQL` becomes `shop_postgresql`. It does not change when `name` changes. Changing `schema_name` creates a new replication.",
				Optional:      true,
				Computed:      true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIfConfigured()},
			},
			"source": endpointAttribute("The database that rows are extracted from. The login of `server` needs no more than what `stitch_source_grants` grants. " +
				"Another `server` that leads to the same database changes only the name; one that leads elsewhere changes the `revision`."),
			"destination": endpointAttribute("The database that rows are loaded into. The login of `server` needs what `stitch_destination_grants` grants, and owns what it loads. "+
				"Another `server` that leads to the same database is a change in place; one that leads elsewhere, or another `database`, creates a new replication.",
				stringplanmodifier.RequiresReplace()),
			"tables": schema.MapNestedAttribute{
				MarkdownDescription: "The tables and views to replicate, by `schema.table`, exactly as PostgreSQL stores the names. " +
					"A name that itself holds a dot is written in double quotes: `\"\\\"a.b\\\".orders\"`.\n\n" +
					"~> Terraform silently ignores unknown arguments inside this map, such as `exclude_colums`. The plan shows the arguments that it knows.",
				Required:     true,
				Validators:   []validator.Map{mapvalidator.SizeAtLeast(1), mapvalidator.NoNullValues()},
				NestedObject: schema.NestedAttributeObject{Attributes: selectionAttributes()},
			},
			"readers": schema.SetAttribute{
				MarkdownDescription: "Roles of the destination that can read the loaded tables, such as a group role `analysts`. They get `USAGE` on the schema, and `SELECT` on the loaded tables and on those that are loaded later. " +
					"Changing it does not run the replication. See [who may read it](../guides/replication.md#who-may-read-it).",
				Optional:    true,
				ElementType: types.StringType,
				Validators:  []validator.Set{setvalidator.NoNullValues(), setvalidator.ValueStringsAre(validReader())},
			},
			"readers_missing": schema.ListAttribute{
				MarkdownDescription: "Expected privileges that `readers` do not have in any way, as of the last refresh: for example `SELECT ON TABLE shop.orders TO analysts`, " +
					"or `ROLE analysts` if that role no longer exists. Empty after each apply: a plan that shows items here grants them again, including any beyond the first 1,000.",
				ElementType: types.StringType,
				Computed:    true,
				Default:     listdefault.StaticValue(stringList(nil)),
			},
			"include_schema_in_table_names": schema.BoolAttribute{
				MarkdownDescription: "Whether to name destination tables `<schema>__<table>`, so that tables of the same name from several schemas do not collide; `false` by default.",
				Optional:            true,
				Computed:            true,
				Default:             booldefault.StaticBool(false),
			},
			"late_commit_window": schema.StringAttribute{
				MarkdownDescription: "How late a row can be committed, after it got its replication key, for `INCREMENTAL` to still find it: " +
					"`24h` by default, at most `720h`; `0s` turns it off. Changing it does not run the replication. " +
					"See [rows that are committed late](../guides/replication.md#rows-that-are-committed-late).",
				Optional:      true,
				Computed:      true,
				Default:       stringdefault.StaticString(durationText(definition.DefaultLateCommitWindow)),
				PlanModifiers: []planmodifier.String{sameDuration{}},
				Validators:    []validator.String{validDuration{limit: maxLateCommitWindow}},
			},
			"max_snapshot_minutes": schema.Int64Attribute{
				MarkdownDescription: "How many minutes a run can hold a snapshot of the source; unlimited by default. Changing it does not run the replication. " +
					"See [what a run holds](../guides/replication.md#what-a-run-holds-at-the-source-and-at-the-destination).",
				Optional:   true,
				Validators: []validator.Int64{int64validator.Between(1, maxSnapshotMinutes)},
			},
			"accept_source_identity": schema.StringAttribute{
				MarkdownDescription: "System identifier of the cluster that now holds the source. Runs record the identifier. If it changes, after a major upgrade, " +
					"a restore of a dump elsewhere or a move to a logical replica, they fail without changing anything, and the error gives the value to set here. " +
					"All tables are then replicated whole. You can keep the value: it accepts no other cluster.",
				Optional: true,
				Validators: []validator.String{stringvalidator.RegexMatches(regexp.MustCompile("^[0-9]+$"),
					"must be the system identifier that the error of the run gives, which is a number")},
			},
			"adopt": schema.BoolAttribute{
				MarkdownDescription: "Whether to accept a destination schema that already holds tables that this replication did not load; `false` by default. " +
					"Runs then load into tables of the same name, and change their rows. " +
					"Tables left behind by a replaced or destroyed replication of the same tables of the same database are taken over without it.",
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(false),
			},
			"force_destroy": schema.BoolAttribute{
				MarkdownDescription: "Whether destroying the replication drops the loaded tables; `false` by default.",
				Optional:            true,
				Computed:            true,
				Default:             booldefault.StaticBool(false),
			},
			"validate_at_plan": schema.BoolAttribute{
				MarkdownDescription: "Whether a plan checks tables, columns and keys against the source, if it can be reached, and checks whether the definition can be stored in the destination; `true` by default. " +
					"A table or column that was replicated before and no longer exists at the source gives only a warning. " +
					"Set it to `false` for tables that the same apply creates.",
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(true),
			},
			"revision": schema.StringAttribute{
				MarkdownDescription: "Hash of everything that affects rows in the destination: source, destination, tables and `accept_source_identity`, but not which entries of `servers` lead there. " +
					"It also changes if the source turns out to be a different database than before. Use it as a trigger of `stitch_sync_run`. " +
					"It is known at plan time, unless a new entry for the source cannot be reached then.",
				Computed: true,
			},
		},
	}
}

// endpointAttribute is a source or a destination. The modifiers say what happens when the database
// changes.
func endpointAttribute(description string, modifiers ...planmodifier.String) schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: description,
		Required:            true,
		Attributes: map[string]schema.Attribute{
			"server": schema.StringAttribute{
				MarkdownDescription: "Key of the entry in the provider's `servers` that runs log in with.",
				Required:            true,
			},
			"database": schema.StringAttribute{
				MarkdownDescription: "Name of the database.",
				Required:            true,
				PlanModifiers:       modifiers,
				Validators:          []validator.String{validName()},
			},
		},
	}
}

func selectionAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"replication_method": schema.StringAttribute{
			MarkdownDescription: "`FULL_TABLE` replicates all rows in each run, and deletes rows from the destination that no longer exist at the source. " +
				"`INCREMENTAL` replicates the rows whose `replication_key` is greater than the greatest one seen so far, and those that were committed late (`late_commit_window`); it does not see deletes.",
			Required: true,
		},
		"replication_key": schema.StringAttribute{
			MarkdownDescription: "For `INCREMENTAL`: the column that says which rows are new, such as `updated_at` or an ascending id. It should have an index.",
			Optional:            true,
			Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
		},
		"columns": schema.SetAttribute{
			MarkdownDescription: "Replicate these columns only. Columns of the primary key and the replication key are always replicated. Values of other columns that were loaded before are not erased.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Set{setvalidator.NoNullValues()},
		},
		"exclude_columns": schema.SetAttribute{
			MarkdownDescription: "Replicate all columns but these. Columns that are added at the source later are replicated. Values of an excluded column that were loaded before are not erased.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.Set{setvalidator.NoNullValues()},
		},
		"table_name": schema.StringAttribute{
			MarkdownDescription: "Name of the table in the destination. By default, it is the name at the source.",
			Optional:            true,
			Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
		},
		"view_key_properties": schema.ListAttribute{
			MarkdownDescription: "For a view: the columns that identify a row. Without them, whole rows of the view are compared, and `INCREMENTAL` keeps every earlier version of a row that changes.",
			Optional:            true,
			ElementType:         types.StringType,
			Validators:          []validator.List{listvalidator.SizeAtLeast(1), listvalidator.NoNullValues(), listvalidator.UniqueValues()},
		},
	}
}
