output "advice" {
  description = "What to do about the tunnel, if anything."
  value       = data.stitch_ssh_check.tunnel.advice
}

output "report" {
  description = "What the run did, table by table."
  value       = stitch_sync_run.shop.tables
}
