variable "tunnel_key" {
  description = "Private key that tunnels log in with."
  type        = string
  sensitive   = true
}

output "public_key" {
  value = nonsensitive(provider::stitch::ssh_public_key(var.tunnel_key))
}
