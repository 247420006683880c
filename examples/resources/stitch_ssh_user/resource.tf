# The user that tunnels log in as: nothing but forwarding is for it.
resource "stitch_ssh_user" "stitch" {
  host     = "bastion"
  username = "stitch"
  shell    = "/usr/sbin/nologin"
  comment  = "Tunnels of Stitch"
}
