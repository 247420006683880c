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

variable "app_stitch_password" {
  type      = string
  sensitive = true
  ephemeral = true
}

# Never give both servers one password: each could log in at the other with it.
variable "warehouse_stitch_password" {
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
      password    = var.app_stitch_password
      sslmode     = "verify-full"
      sslrootcert = "ca.pem"
    }

    # The destination, likewise; only the SSH host knows the way to it.
    warehouse = {
      host        = "warehouse.internal"
      port        = 5432
      username    = "postgres"
      password    = var.warehouse_admin_password
      sslmode     = "verify-full" # all the way to the server, within what SSH encrypts
      sslrootcert = "warehouse_ca.pem"
      ssh_host    = "bastion"
    }
    warehouse_stitch = {
      host            = "warehouse.internal"
      port            = 5432
      username        = "stitch"
      password        = var.warehouse_stitch_password
      sslmode         = "verify-full"
      sslrootcert     = "warehouse_ca.pem"
      ssh_host        = "bastion"
      max_connections = 2
    }
  }

  ssh_hosts = {
    bastion = {
      host        = "bastion.example.com"
      port        = 22
      username    = "operator"
      private_key = "bastion_key"                                                                      # a path, or the text of the key
      host_key    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl" # ssh-keyscan shows it; compare it with the host's own
    }
  }
}
