# For those who use the hosted service. Runs of this provider come from where
# Terraform runs: see client_address of stitch_connection_check.
data "stitch_ip_addresses" "hosted" {
  region = "eu"
}

# For a security group, or lines of pg_hba.conf.
output "pg_hba" {
  value = [for block in data.stitch_ip_addresses.hosted.cidr_blocks : "hostssl shop stitch ${block} scram-sha-256"]
}
