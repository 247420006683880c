# server/database/user
terraform import stitch_destination_grants.warehouse warehouse/analytics/stitch
