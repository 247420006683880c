variable "app_stitch_password" {
  type      = string
  ephemeral = true
  sensitive = true
}

resource "stitch_database_user" "source" {
  server              = "app"
  name                = "stitch"
  password_wo         = var.app_stitch_password
  password_wo_version = 1
}

# Stitch may read all tables and views of two schemas, also those to come.
resource "stitch_source_grants" "app" {
  server   = "app"
  database = "shop"
  user     = stitch_database_user.source.name
  schemas  = ["public", "billing"]

  # Of this table, only these columns: not the one with card numbers.
  columns = { "public.orders" = ["id", "total", "shipped", "updated_at"] }
}
