# <destination server>/<destination database>/<schema name>, which is also the id
terraform import stitch_replication.shop warehouse_stitch/analytics/shop_postgresql
