package linux

import (
	"context"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// UpdateUser changes of the user called u.Name, whose uid is uid, what differs from u, and repairs what
// Problems lists. What is "" in u stays as it is. A password is left alone. No
// file is moved when Home changes: the new directory is made if it is not
// there, and one that is there must belong to the user.
func UpdateUser(ctx context.Context, h *sshclient.Host, uid int64, u NewUser) (User, error) {
	return User{}, nil
}
