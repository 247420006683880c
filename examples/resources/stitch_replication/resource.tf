resource "stitch_replication" "shop" {
  name = "Shop PostgreSQL" # loads into the schema shop_postgresql

  # Where Terraform manages the grants too, refer to them, so that they are there
  # first: database = stitch_source_grants.app.database
  source      = { server = "app_stitch", database = "shop" }
  destination = { server = "warehouse_stitch", database = "analytics" }

  # Roles of the destination that may read what is loaded, now and later.
  readers = ["analysts"]

  tables = {
    # Rows that are new, or have changed since the last run.
    "public.orders" = {
      replication_method = "INCREMENTAL"
      replication_key    = "updated_at"
      exclude_columns    = ["card_number"]
    }

    # All rows. What was deleted at the source goes at the destination too.
    "public.countries" = {
      replication_method = "FULL_TABLE"
      columns            = ["code", "name"]
    }

    # A second table of the same name needs another one.
    "billing.orders" = {
      replication_method = "FULL_TABLE"
      table_name         = "billing_orders"
    }

    # A view has no primary key: say which columns identify a row.
    "public.open_orders" = {
      replication_method  = "FULL_TABLE"
      view_key_properties = ["id"]
    }
  }
}
