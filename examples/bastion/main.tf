# A source that only an SSH host can reach. The host's administrator makes a user
# for the tunnel, and lets a key in that may do nothing but forward to the
# database; all that follows goes through that tunnel. "make quickstart" applies
# it where it can start an SSH host.
#
# Next to it: bastion_key, the administrator's private key; tunnel_key, which
# "ssh-keygen -t ed25519 -N '' -f tunnel_key" makes; known_hosts; and ca.pem, the
# certificate of the authority that signed the database's.

terraform {
  required_version = ">= 1.11"

  required_providers {
    stitch = {
      source  = "terraform-stitch/stitch"
      version = "~> 0.1"
    }
  }
}

provider "stitch" {
  ssh_hosts = {
    # The administrator, who makes users: root, or a user with sudo = true.
    bastion = {
      host        = var.bastion_host
      port        = var.bastion_port
      username    = "root"
      private_key = "bastion_key"
      known_hosts = "known_hosts" # or host_key = "ssh-ed25519 AAAA...": it is always verified
    }
    # The user of the tunnel, whom this configuration makes. Nothing is connected
    # to before it is needed.
    tunnel = {
      host        = var.bastion_host
      port        = var.bastion_port
      username    = "stitch"
      private_key = "tunnel_key"
      known_hosts = "known_hosts"
    }
  }

  servers = {
    app = {
      host        = "db.internal" # as the SSH host knows it
      port        = var.app_port
      username    = "postgres"
      password    = var.app_admin_password
      sslmode     = "verify-full" # all the way to the server, within what SSH encrypts
      sslrootcert = "ca.pem"
      ssh_host    = "tunnel"
    }
    app_stitch = {
      host        = "db.internal"
      port        = var.app_port
      username    = "stitch"
      password    = var.app_stitch_password
      sslmode     = "verify-full"
      sslrootcert = "ca.pem"
      ssh_host    = "tunnel"
    }
    warehouse = {
      host     = var.warehouse_host
      port     = var.warehouse_port
      username = "postgres"
      password = var.warehouse_admin_password
    }
    warehouse_stitch = {
      host     = var.warehouse_host
      port     = var.warehouse_port
      username = "stitch"
      password = var.warehouse_stitch_password
    }
  }
}

# The way to the source.

resource "stitch_ssh_user" "tunnel" {
  host     = "bastion"
  username = "stitch"
  shell    = "/usr/sbin/nologin" # tunnels need no shell
}

resource "stitch_ssh_authorized_key" "tunnel" {
  host       = "bastion"
  username   = stitch_ssh_user.tunnel.username
  public_key = provider::stitch::ssh_public_key(file("tunnel_key"))
  options    = ["restrict", "port-forwarding", "permitopen=\"db.internal:${var.app_port}\""]
}

data "stitch_ssh_check" "tunnel" {
  host       = "bastion"
  username   = stitch_ssh_authorized_key.tunnel.username
  public_key = stitch_ssh_authorized_key.tunnel.public_key
  server     = "app"
}

# The source, through the tunnel: first in, last out.

resource "stitch_database_user" "source" {
  server              = "app"
  name                = "stitch"
  password_wo         = var.app_stitch_password
  password_wo_version = 1
  depends_on          = [stitch_ssh_authorized_key.tunnel]
}

resource "stitch_source_grants" "shop" {
  server   = "app"
  database = "shop"
  user     = stitch_database_user.source.name
  schemas  = ["shop"]
}

# The destination, and a run, as without an SSH host.

resource "stitch_database_user" "destination" {
  server              = "warehouse"
  name                = "stitch"
  password_wo         = var.warehouse_stitch_password
  password_wo_version = 1
}

resource "stitch_destination_database" "analytics" {
  server        = "warehouse"
  name          = "analytics"
  force_destroy = true # only because this is an example
}

resource "stitch_destination_grants" "analytics" {
  server   = "warehouse"
  database = stitch_destination_database.analytics.name
  user     = stitch_database_user.destination.name
}

resource "stitch_replication" "shop" {
  name        = "Shop PostgreSQL"
  source      = { server = "app_stitch", database = stitch_source_grants.shop.database }
  destination = { server = "warehouse_stitch", database = stitch_destination_grants.analytics.database }

  tables = {
    "shop.customers" = { replication_method = "FULL_TABLE" }
    "shop.orders"    = { replication_method = "INCREMENTAL", replication_key = "updated_at", exclude_columns = ["card_number"] }
  }
}

resource "stitch_sync_run" "shop" {
  replication = stitch_replication.shop.id
  triggers    = { definition = stitch_replication.shop.revision }
}
