# <server>/<name>
terraform import stitch_destination_database.warehouse warehouse/analytics
