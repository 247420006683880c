package linux

import (
	"context"
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// An Identity tells a host from others, whatever its entry in the provider block is called,
// and a user of it from others of its name.
type Identity struct {
	HostKey string // by which it proved who it is, which copies of a host share
	Machine string // which start of which kernel, and which root directory, which no two hosts share
	User    string // uid and home directory; "" if there is no such user
}

// UserIdentity returns the identity of a user.
func UserIdentity(ctx context.Context, h *sshclient.Host, name string) (Identity, error) {
	key, said, err := identify(ctx, h, sshclient.Command{Script: accountScript + identifyScript + userScript, Data: map[string]string{"name": name}})
	if err != nil {
		return Identity{}, fmt.Errorf("find out who user %q of SSH host %q is: %w", name, h.Name(), err)
	}
	machine, user, _ := strings.Cut(said, "\nuser ")
	if !strings.Contains(machine, "\n") {
		machine = "" // without a boot id, it is that of many
	}
	return Identity{HostKey: key, Machine: machine, User: strings.TrimSpace(user)}, nil
}

// Identify returns what tells one host from all others, however it is reached. Its key is
// not enough, as copies of one machine share it. What a host says of itself is not enough
// either: another host could say the same.
func Identify(ctx context.Context, h *sshclient.Host) (string, error) {
	key, said, err := identify(ctx, h, sshclient.Command{Script: identifyScript})
	if err != nil {
		return "", fmt.Errorf("find out which machine SSH host %q is: %w", h.Name(), err)
	}
	return key + "\n" + said, nil
}

// identify returns the key of a host, and what a command on it prints for whoever logs in.
func identify(ctx context.Context, h *sshclient.Host, c sshclient.Command) (key, said string, err error) {
	if key, err = h.HostKey(ctx); err != nil {
		return "", "", err
	}
	c.User = h.Username()
	answer, err := h.Run(ctx, c)
	said = strings.TrimSpace(string(answer))
	if err == nil && (said == "" || len(said) > 2*maxFact) {
		err = notUnderstood(answer)
	}
	return key, said, err
}

// userScript prints who $name is after that, if there is such a user.
const userScript = `
account "$name"
[ "$origin" = absent ] || printf 'user %s:%s\n' "$uid" "$home"`

// identifyScript prints which start of which kernel it is, and which root directory: containers
// on one kernel have their own.
const identifyScript = `cat /proc/sys/kernel/random/boot_id 2>/dev/null
stat -c '%d %i' /`
