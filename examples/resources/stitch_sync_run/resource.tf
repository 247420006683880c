resource "stitch_replication" "shop" {
  name        = "Shop PostgreSQL"
  source      = { server = "app_stitch", database = "shop" }
  destination = { server = "warehouse_stitch", database = "analytics" }

  tables = {
    "public.orders" = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
  }
}

# Another value makes Terraform run the replication again: a CI job that is
# started every hour may pass the hour.
variable "run" {
  type    = string
  default = "1"
}

resource "stitch_sync_run" "shop" {
  replication = stitch_replication.shop.id

  triggers = {
    definition = stitch_replication.shop.revision # other tables, or in another way
    run        = var.run
  }

  # Compare the number of rows on both sides before each table is committed. It
  # reads them once more: leave it out where that takes too long.
  verify = "count"
}

# The loading report: for each table its status, rows, bookmark and duration.
output "report" {
  value = stitch_sync_run.shop.tables
}
