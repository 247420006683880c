variable "app_stitch_password" {
  type      = string
  sensitive = true
  ephemeral = true # never written to plan or state
}

# Never give both servers one password: each could log in at the other with it.
variable "warehouse_stitch_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "stitch_database_user" "source" {
  server              = "app"
  name                = "stitch"
  password_wo         = var.app_stitch_password
  password_wo_version = 1 # raise it to send a new password

  parameters = {
    statement_timeout                   = "2h"
    idle_in_transaction_session_timeout = "10min"
    search_path                         = "app, public"
  }
}

resource "stitch_database_user" "destination" {
  server              = "warehouse"
  name                = "stitch"
  password_wo         = var.warehouse_stitch_password
  password_wo_version = 1
  valid_until         = "2040-01-01T00:00:00Z"
  connection_limit    = 20

  # When it is destroyed, what it loaded stays and belongs to this role.
  reassign_owned_to  = "analytics_owner"
  terminate_sessions = true
}
