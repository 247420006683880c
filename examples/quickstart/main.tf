# A whole configuration: it lets Stitch's user read the database "shop" on one
# server, makes the database "analytics" on another, says which tables to
# replicate, and replicates them. "make quickstart" applies it between two
# throw-away servers; "make sandbox" leaves those running, to try changes of it.

terraform {
  required_version = ">= 1.11"

  required_providers {
    stitch = {
      source  = "terraform-stitch/stitch"
      version = "~> 0.1"
    }
  }
}

# One entry for each login. Administrators create users and grants; runs need no
# more than the user that they create.
provider "stitch" {
  servers = {
    app = {
      host     = var.app_host
      port     = var.app_port
      username = var.app_admin
      password = var.app_admin_password
    }
    app_stitch = {
      host     = var.app_host
      port     = var.app_port
      username = "stitch"
      password = var.app_stitch_password
    }
    warehouse = {
      host     = var.warehouse_host
      port     = var.warehouse_port
      username = var.warehouse_admin
      password = var.warehouse_admin_password
    }
    warehouse_stitch = {
      host     = var.warehouse_host
      port     = var.warehouse_port
      username = "stitch"
      password = var.warehouse_stitch_password
    }
  }
}

# The source: who reads, and what it may read.

resource "stitch_database_user" "source" {
  server              = "app"
  name                = "stitch"
  password_wo         = var.app_stitch_password # write-only: in neither plan nor state
  password_wo_version = 1                       # raise it to set a new password
}

resource "stitch_source_grants" "shop" {
  server   = "app"
  database = "shop"
  user     = stitch_database_user.source.name
  schemas  = ["public", "shop"]
}

# The destination: who loads, and where it may load.

resource "stitch_database_user" "destination" {
  server              = "warehouse"
  name                = "stitch"
  password_wo         = var.warehouse_stitch_password
  password_wo_version = 1
}

resource "stitch_destination_database" "analytics" {
  server        = "warehouse"
  name          = "analytics"
  force_destroy = true # only because this is a quickstart: "terraform destroy" then drops the loaded tables too
}

resource "stitch_destination_grants" "analytics" {
  server   = "warehouse"
  database = stitch_destination_database.analytics.name
  user     = stitch_database_user.destination.name
}

# What is replicated, and how. The references to the grants order things: grants
# are there before the replication, and go after it.

resource "stitch_replication" "shop" {
  name        = "Shop PostgreSQL" # loads into the schema shop_postgresql
  source      = { server = "app_stitch", database = stitch_source_grants.shop.database }
  destination = { server = "warehouse_stitch", database = stitch_destination_grants.analytics.database }

  tables = {
    # Rows that have changed since the last run: large tables with a column that says when.
    "public.pgbench_accounts" = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
    "shop.orders"             = { replication_method = "INCREMENTAL", replication_key = "updated_at", exclude_columns = ["card_number"] }

    # Rows are only ever added. The second is partitioned, and replicated as one table.
    "public.pgbench_history" = { replication_method = "INCREMENTAL", replication_key = "mtime" }
    "shop.order_events"      = { replication_method = "INCREMENTAL", replication_key = "id" }

    # Small tables, compared whole: what was deleted at the source goes too.
    "public.pgbench_branches" = { replication_method = "FULL_TABLE" }
    "public.pgbench_tellers"  = { replication_method = "FULL_TABLE" }
    "shop.customers"          = { replication_method = "FULL_TABLE" }

    # A view has no primary key: say which columns identify a row.
    "shop.open_orders" = { replication_method = "FULL_TABLE", view_key_properties = ["id"] }
  }
}

# Replicates when it is created, and whenever a trigger changes.

resource "stitch_sync_run" "shop" {
  replication = stitch_replication.shop.id

  triggers = {
    definition = stitch_replication.shop.revision # the tables to replicate, or how, have changed
    run        = var.run                          # terraform apply -var run=2 replicates once more
  }
}
