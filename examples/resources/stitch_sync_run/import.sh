# The id of the replication. What is imported is its last run.
terraform import stitch_sync_run.shop warehouse_stitch/analytics/shop_postgresql
