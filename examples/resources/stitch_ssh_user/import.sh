# <host>/<username>
terraform import stitch_ssh_user.stitch bastion/stitch
