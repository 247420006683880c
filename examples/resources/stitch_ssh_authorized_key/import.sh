# <host>/<username>/<fingerprint>, as ssh-keygen -lf shows it; a slash within a part is written %2F
terraform import stitch_ssh_authorized_key.stitch bastion/stitch/SHA256:uNiVztksCsDhcc0u9e8BrrJhfOe8fcOHXDo6C8UYJDw
