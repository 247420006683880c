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
			"It runs when it is created and whenever `triggers` change, in place. A run that failed or was interrupted keeps the rows that it " +
			"committed. It is shown with its errors, and the next apply continues from there. If the first run fails, nothing is stored: the error then says where its report is. " +
			"The resource shows the latest run in the catalog, even if another process started it. Destroying the resource removes nothing.\n\n" +
			"Terraform does not compute outputs in an apply that failed: run `terraform apply -refresh-only` to make them show the failed run.",
		Attributes: map[string]schema.Attribute{
			"replication": schema.StringAttribute{
				MarkdownDescription: "The `id` of the `stitch_replication` to run.",
				Required:            true,
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(ifAnotherReplication,
					"Another replication means another run.", "Another replication means another run.")},
			},
			"triggers": schema.MapAttribute{
				MarkdownDescription: "Values of your choice: when one changes, the replication runs again. Include the `revision` of the replication, " +
					"and for instance `plantimestamp()` to run it in each apply.",
				Optional:    true,
				ElementType: types.StringType,
			},
			"verify": schema.StringAttribute{
				MarkdownDescription: "What is compared between source and destination before the load of each table is committed: `none` by default, `count` for the number of rows, `checksum` for a checksum over the text of all rows. " +
					"Changing it runs the replication again, unless the new value is `none`. See [verification](../guides/replication.md#verification).",
				Optional:   true,
				Computed:   true,
				Default:    stringdefault.StaticString(tablesync.VerifyNone),
				Validators: []validator.String{stringvalidator.OneOf(tablesync.VerifyNone, tablesync.VerifyCount, tablesync.VerifyChecksum)},
			},
			"run_id":         computed("Identifier of the run in the catalog, where it is `_stitch.run.id`."),
			"status":         computed("`succeeded`, `failed` or `interrupted`; `running` while another process runs it, `unknown` if the catalog can no longer be read. Unless it is `succeeded`, the plan runs the replication again."),
			"started_at":     computed("When the run started, by the destination's clock (RFC 3339)."),
			"completed_at":   computed("When the run ended."),
			"rows_extracted": count("Rows read from the source, for all tables together."),
			"rows_loaded":    count("Rows inserted or changed in the destination, for all tables together."),
			"tables": schema.MapNestedAttribute{
				MarkdownDescription: "The loading report: what the run did with each table.",
				Computed:            true,
				NestedObject:        schema.NestedAttributeObject{Attributes: reportAttributes()},
			},
			"missing_tables": texts("Loaded tables that no longer existed in the destination at the last refresh. " +
				"Empty after each apply. A plan that shows items here runs the replication again, which loads these tables whole."),
			"timeouts": timeouts.Attributes(ctx, timeouts.Opts{
				Create: true, Update: true,
				CreateDescription: "How long the first run can take, such as `\"2h\"`. Without it, there is no limit.",
				UpdateDescription: "How long a later run can take. Without it, there is no limit.",
			}),
		},
	}
}

func reportAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"table_name":      computed("Name of the table in the destination."),
		"status":          computed("`succeeded`, `failed` or `interrupted`. For a table that did not succeed, chunks of a large backlog may have been committed: the numbers of rows and the bookmark show that."),
		"method":          computed("Replication method."),
		"rows_extracted":  count("Rows read from the source."),
		"rows_loaded":     count("Rows inserted or changed in the destination. Rows that did not change are not written."),
		"bytes":           count("Bytes of row data that the run copied."),
		"replication_key": computed("Replication key, for `INCREMENTAL`."),
		"bookmark":        computed("Greatest replication key that was loaded, as PostgreSQL writes it; control characters in it are escaped."),
		"duration":        computed("How long the table took."),
		"snapshot_held":   computed("How long the run held a snapshot of the source for the table; the longest time if there were several. A snapshot holds back `VACUUM`, and changes to the table's structure wait for it: see `max_snapshot_minutes` of `stitch_replication`."),
		"null_keys":       count("How many of the extracted rows have a null replication key."),
		"changes":         texts("What has changed in the structure of the table since the previous run."),
		"notes":           texts("What else you should know about the table, such as why it was replicated whole, or which guarantee could not be given. The apply warns about notes that the previous run did not have."),
		"verification":    computed("Result of the comparison that `verify` asks for."),
		"error":           computed("Why the table was not replicated, or not completely."),
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
