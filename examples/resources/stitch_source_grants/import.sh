# server/database/user: the schemas are those that the user was granted USAGE on.
terraform import stitch_source_grants.app app/shop/stitch
