# So many users, each with grants on each of so many schemas.

terraform {
  required_providers {
    stitch = { source = "terraform-stitch/stitch" }
  }
}

variable "port" {
  type = number
}

variable "password" {
  type      = string
  ephemeral = true
}

variable "database" {
  type = string
}

variable "users" {
  type = number
}

variable "schemas" {
  type = number
}

provider "stitch" {
  servers = {
    app = { host = "127.0.0.1", port = var.port, username = "postgres", password = var.password }
  }
}

resource "stitch_database_user" "reader" {
  count  = var.users
  server = "app"
  name   = "${var.database}_${count.index}"
}

resource "stitch_source_grants" "reader" {
  count    = var.users * var.schemas
  server   = "app"
  database = var.database
  user     = stitch_database_user.reader[floor(count.index / var.schemas)].name
  schemas  = ["s_${count.index % var.schemas}"]
}
