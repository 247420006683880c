resource "stitch_destination_database" "warehouse" {
  server = "warehouse"
  name   = "analytics"
}
