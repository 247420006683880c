resource "stitch_destination_database" "warehouse" {
  server = "warehouse"
  name   = "analytics"
}

resource "stitch_destination_schema" "shop" {
  server   = "warehouse"
  database = stitch_destination_database.warehouse.name
  name     = "shop"
}
