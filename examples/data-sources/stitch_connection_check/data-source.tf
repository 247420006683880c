locals {
  tables = { # the same map as in the replication
    "public.orders"    = { replication_method = "INCREMENTAL", replication_key = "updated_at" }
    "public.countries" = { replication_method = "FULL_TABLE" }
  }
}

# The source, as the user that runs log in as.
data "stitch_connection_check" "app" {
  server   = "app_stitch"
  database = "shop"
  use_as   = "source"
  schemas  = ["billing"]
  tables   = local.tables
}

# The destination. Without a login that works, nothing else is worth applying.
data "stitch_connection_check" "warehouse" {
  server   = "warehouse_stitch"
  database = "analytics"
  use_as   = "destination"

  lifecycle {
    postcondition {
      condition     = self.ready
      error_message = join("\n", self.advice)
    }
  }
}

# The address to let in at the source's firewall, as the source saw it.
output "client_address" {
  value = data.stitch_connection_check.app.client_address
}

# What the user cannot do although it should.
output "missing" {
  value = [for p in data.stitch_connection_check.app.privileges : "${p.privilege} ON ${p.object}: ${p.reason}" if !p.held]
}
