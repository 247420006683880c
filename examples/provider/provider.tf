terraform {
  required_providers {
    stitch = {
      source  = "terraform-stitch/stitch"
      version = "~> 0.1"
    }
  }
}

variable "app_admin_password" {
  type      = string
  sensitive = true
  ephemeral = true # in neither plan nor state
}

variable "warehouse_admin_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

variable "stitch_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

provider "stitch" {
  servers = {
    # The source, twice: as the administrator who creates the user and its grants ...
    app = {
      host        = "app.example.com"
      username    = "postgres"
      password    = var.app_admin_password # or password_command = ["aws", "rds", "generate-db-auth-token", ...]
      sslmode     = "verify-full"          # the default, but for hosts that are this machine
      sslrootcert = "ca.pem"               # or file("ca.pem"); the system's authorities by default
    }
    # ... and as the user that runs log in as.
    app_stitch = {
      host        = "app.example.com"
      username    = "stitch"
      password    = var.stitch_password
      sslmode     = "verify-full"
      sslrootcert = "ca.pem"
    }

    # The destination, likewise.
    warehouse = {
      host     = "warehouse.example.com"
      port     = 5432
      username = "postgres"
      password = var.warehouse_admin_password
    }
    warehouse_stitch = {
      host            = "warehouse.example.com"
      port            = 5432
      username        = "stitch"
      password        = var.stitch_password
      max_connections = 2
    }
  }
}
