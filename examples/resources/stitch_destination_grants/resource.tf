variable "warehouse_stitch_password" {
  type      = string
  ephemeral = true
  sensitive = true
}

resource "stitch_database_user" "destination" {
  server              = "warehouse"
  name                = "stitch"
  password_wo         = var.warehouse_stitch_password
  password_wo_version = 1
}

# Stitch may create schemas in the database, and load into them.
resource "stitch_destination_grants" "warehouse" {
  server   = "warehouse"
  database = "analytics"
  user     = stitch_database_user.destination.name
}
