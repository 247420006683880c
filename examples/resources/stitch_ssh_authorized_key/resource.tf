variable "tunnel_key" {
  description = "Private key that tunnels log in with."
  type        = string
  sensitive   = true
}

resource "stitch_ssh_user" "stitch" {
  host     = "bastion"
  username = "stitch"
}

# Lets the key forward to the database, and do nothing else.
resource "stitch_ssh_authorized_key" "stitch" {
  host       = "bastion"
  username   = stitch_ssh_user.stitch.username
  public_key = nonsensitive(provider::stitch::ssh_public_key(var.tunnel_key))

  options = [
    "restrict",
    "port-forwarding",
    "permitopen=\"app.internal:5432\"",
    "command=\"/bin/false\"",
  ]
}
