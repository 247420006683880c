variable "stitch_password" {
  type      = string
  sensitive = true
  ephemeral = true # never written to plan or state
}

resource "stitch_database_user" "source" {
  server              = "app"
  name                = "stitch"
  password_wo         = var.stitch_password
  password_wo_version = 1 # raise it to send a new password
}

resource "stitch_database_user" "destination" {
  server              = "warehouse"
  name                = "stitch"
  password_wo         = var.stitch_password
  password_wo_version = 1
  connection_limit    = 20
}
