# A file that ssh-keygen made. What is read from it is in neither plan nor state.
output "public_key" {
  value = provider::stitch::ssh_public_key(file("tunnel_key"))
}
