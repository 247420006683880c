output "report" {
  description = "What the last run did, table by table."
  value       = stitch_sync_run.shop.tables
}
