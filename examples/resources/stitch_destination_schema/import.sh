# <server>/<database>/<name>; a slash within a name is written %2F
terraform import stitch_destination_schema.shop warehouse/analytics/shop
