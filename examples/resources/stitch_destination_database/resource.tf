resource "stitch_destination_database" "warehouse" {
  server = "warehouse"
  name   = "analytics"

  # Chosen once: none of these can be changed later.
  encoding   = "UTF8"
  lc_collate = "C"
  lc_ctype   = "C"
  template   = "template0"

  connection_limit = 50
  comment          = "Loaded by Stitch. Not backed up: everything in here can be loaded again."
}
