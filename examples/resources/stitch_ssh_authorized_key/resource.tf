resource "stitch_ssh_user" "stitch" {
  host     = "bastion"
  username = "stitch"
  shell    = "/usr/sbin/nologin"
}

# Lets the key forward to the database, and do nothing else.
resource "stitch_ssh_authorized_key" "stitch" {
  host       = "bastion"
  username   = stitch_ssh_user.stitch.username
  public_key = provider::stitch::ssh_public_key(file("tunnel_key")) # or file("tunnel_key.pub")

  options = [
    "restrict",
    "port-forwarding",
    "permitopen=\"app.internal:5432\"", # as servers write host and port
  ]
}
