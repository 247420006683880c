package linux

import (
	"context"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// ReadUser returns the user called name. ErrNotFound means that the host said so.
func ReadUser(ctx context.Context, h *sshclient.Host, name string) (User, error) {
	return User{}, nil
}

// Problems says, a line each, what about the user makes sshd refuse its keys:
// owners and permissions that StrictModes refuses, a locked password, an expiry
// in the past. UpdateUser repairs them all. It is empty after CreateUser.
func (u User) Problems() []string { return nil }

// A pathState is what lstat says of a path.
type pathState struct {
	path     string
	mode     uint32
	uid, gid int64
}
