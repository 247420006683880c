package linux

import (
	"context"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// A Check says what is to be looked at.
type Check struct {
	Username  string     // who is to open the tunnel; "" is the login of the host's entry
	PublicKey *PublicKey // the key that it is to be opened with; nil: keys are not looked at
	Host      string     // where the tunnel is to end, as whoever opens it will write it; "": anywhere
	Port      int
	Addresses []string // where connections come from; empty: where this one does
}

// A Checked is what was found.
type Checked struct {
	SSHD     SSHD // what applies to the user
	User     User // ErrNotFound is a finding
	Findings []Finding
}

// SSHD holds settings of sshd as they apply to one user, in the words of sshd -T.
type SSHD struct {
	Known              bool   // false: it may not be asked, and all else is empty
	AllowTCPForwarding string // yes, no, local, remote
	DisableForwarding  bool
	PermitOpen         []string // "any", "none", or host:port
	MaxSessions        int
	AuthorizedKeysFile []string
}

// A Finding is something that was found out.
type Finding struct {
	Summary string
	Detail  string
	Remedy  string // what to do
	Blocks  bool   // no tunnel can be opened until that is done
}

// CheckUser looks at what decides whether a user can open a tunnel. It changes nothing.
func CheckUser(ctx context.Context, h *sshclient.Host, c Check) (Checked, error) {
	return Checked{}, nil
}
