package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/tablesync"
)

// Schema describes the resource.
func (*syncRunResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Runs a replication: structure sync, then extraction and load of each table. " +
			"It runs when it is created and whenever `triggers` change, in place. A run that failed or was interrupted keeps what it " +
			"committed; it is shown with its errors, and the next apply goes on from there. Only when the first run fails, nothing is stored: the error says where its report is. " +
			"The resource shows the run that the catalog recorded last, even if another process started it. Destroying it removes nothing.\n\n" +
			"Terraform computes no outputs in an apply that failed: `terraform apply -refresh-only` has them show the failed run.",
		Attributes: map[string]schema.Attribute{
			"replication": schema.StringAttribute{
				MarkdownDescription: "The `id` of the `stitch_replication` to run.",
				Required:            true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(ifAnotherReplication,
					"Another replication is another run.", "Another replication is another run.")},
			},
			"triggers": schema.MapAttribute{
				MarkdownDescription: "Values of your choice; when one changes, the replication runs again. Give it the `revision` of the replication, " +
					"and for instance `plantimestamp()` to run in each apply.",
				Optional:    true,
				ElementType: types.StringType,
			},
			"verify": schema.StringAttribute{
				MarkdownDescription: "What is compared between source and destination before each table's load is committed: `none` by default, `count` for the number of rows, `checksum` for a sum over the text of all of them. " +
					"Changing it runs the replication again, except to `none`. See [verification](../guides/replication.md#verification).",
				Optional:   true,
				Computed:   true,
				Default:    stringdefault.StaticString(tablesync.VerifyNone),
				Validators: []validator.String{stringvalidator.OneOf(tablesync.VerifyNone, tablesync.VerifyCount, tablesync.VerifyChecksum)},
			},
			"run_id":         computed("Identifier of the run in the catalog, where it is `_stitch.run.id`."),
			"status":         computed("`succeeded`, `failed` or `interrupted`; `running` while another process runs it, `unknown` if the catalog cannot be read any more. Unless it is `succeeded`, the plan runs it again."),
			"started_at":     computed("When the run started, by the destination's clock (RFC 3339)."),
			"completed_at":   computed("When the run ended."),
			"rows_extracted": count("Rows read from the source, all tables together."),
			"rows_loaded":    count("Rows inserted or changed in the destination, all tables together."),
			"tables": schema.MapNestedAttribute{
				MarkdownDescription: "The loading report: what the run did with each table.",
				Computed:            true,
				NestedObject:        schema.NestedAttributeObject{Attributes: reportAttributes()},
			},
			"missing_tables": texts("Loaded tables that no longer existed in the destination at the last refresh. " +
				"Empty after each apply. A plan that shows items here runs the replication again, which loads these tables whole."),
			"timeouts": timeouts.Attributes(ctx, timeouts.Opts{
				Create: true, Update: true,
				CreateDescription: "How long the first run may take, such as `\"2h\"`. Without it there is no limit.",
				UpdateDescription: "How long a later run may take. Without it there is no limit.",
			}),
		},
	}
}

func reportAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"table_name":      computed("Name of the table in the destination."),
		"status":          computed("`succeeded`, `failed` or `interrupted`. Of a table that did not succeed, chunks of a large backlog may have been committed: rows and bookmark say so."),
		"method":          computed("Replication method."),
		"rows_extracted":  count("Rows read from the source."),
		"rows_loaded":     count("Rows inserted or changed in the destination. Rows that did not change are not written."),
		"bytes":           count("Bytes of row data that were copied."),
		"replication_key": computed("Replication key, for `INCREMENTAL`."),
		"bookmark":        computed("Greatest replication key that was loaded, as PostgreSQL writes it; control characters in it are escaped."),
		"duration":        computed("How long the table took."),
		"snapshot_held":   computed("For how long a snapshot of the source was held for the table, the longest of several. It holds back `VACUUM`, and changes of the table's structure wait for it; see `max_snapshot_minutes` of `stitch_replication`."),
		"null_keys":       count("Of the rows that were extracted, those whose replication key is null."),
		"changes":         texts("What has changed in the structure of the table since the run before."),
		"notes":           texts("What else you should know of the table, such as why it was replicated whole, or which guarantee could not be given. The apply warns of notes that the run before did not have."),
		"verification":    computed("Result of the comparison that `verify` asks for."),
		"error":           computed("Why the table was not replicated, or not to its end."),
	}
}

func computed(description string) schema.StringAttribute {
	return schema.StringAttribute{MarkdownDescription: description, Computed: true}
}

func count(description string) schema.Int64Attribute {
	return schema.Int64Attribute{MarkdownDescription: description, Computed: true}
}

func texts(description string) schema.ListAttribute {
	return schema.ListAttribute{MarkdownDescription: description, Computed: true, ElementType: types.StringType}
}
