# Would the user of tunnels be let in with its key, and through to the database?
data "stitch_ssh_check" "bastion" {
  host       = "bastion"
  username   = "stitch"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
  server     = "app"
}

output "advice" {
  value = data.stitch_ssh_check.bastion.advice
}
