variable "warehouse_stitch_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "stitch_database_user" "destination" {
  server              = "warehouse"
  name                = "stitch"
  password_wo         = var.warehouse_stitch_password
  password_wo_version = 1
}

resource "stitch_destination_database" "warehouse" {
  server = "warehouse"
  name   = "analytics"
}

resource "stitch_destination_schema" "shop" {
  server   = "warehouse"
  database = stitch_destination_database.warehouse.name
  name     = "shop"
  owner    = stitch_database_user.destination.name
  comment  = "What Stitch loads from the shop."
}
