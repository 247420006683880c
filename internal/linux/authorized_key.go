package linux

import (
	"context"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// An AuthorizedKey lets those who have a private key log in as a user.
type AuthorizedKey struct {
	Username  string
	PublicKey PublicKey // the comment is the line's
	Options   []string  // in their order, for example ["restrict", "port-forwarding"]
}

// AddAuthorizedKey adds a line. A key that is there already is ErrExists.
func AddAuthorizedKey(ctx context.Context, h *sshclient.Host, k AuthorizedKey) error { return nil }

// ReadAuthorizedKey finds the line of a key. ErrNotFound means that it is not
// there, or that its user is not.
func ReadAuthorizedKey(ctx context.Context, h *sshclient.Host, username string, key PublicKey) (AuthorizedKey, error) {
	return AuthorizedKey{}, nil
}

// ChangeAuthorizedKey gives the line of a key other options and its comment.
func ChangeAuthorizedKey(ctx context.Context, h *sshclient.Host, k AuthorizedKey) error { return nil }

// RemoveAuthorizedKey removes the line of a key. One that is gone is done. The
// key that this host is connected with is refused.
func RemoveAuthorizedKey(ctx context.Context, h *sshclient.Host, username string, key PublicKey) error {
	return nil
}
