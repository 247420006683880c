# <server>/<name>. The password stays what it is until password_wo_version is configured.
terraform import stitch_database_user.source app/stitch
