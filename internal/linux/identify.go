package linux

import (
	"context"
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// An Identity distinguishes a host from other hosts, whatever its entry in the provider block is
// called, and a user of the host from others of the same name.
type Identity struct {
	HostKey string // with which it proved its identity; copies of a host share it
	Machine string // the boot of a kernel and the root directory; no two hosts share it
	User    string // uid and home directory; "" if there is no such user
}

// UserIdentity returns the identity of a user.
func UserIdentity(ctx context.Context, h *sshclient.Host, name string) (Identity, error) {
	key, said, err := identify(ctx, h, sshclient.Command{Script: accountScript + identifyScript + userScript, Data: map[string]string{"name": name}})
	if err != nil {
		return Identity{}, fmt.Errorf("identify user %q of SSH host %q: %w", name, h.Name(), err)
	}
	machine, user, _ := strings.Cut(said, "\nuser ")
	if !strings.Contains(machine, "\n") {
		machine = "" // without a boot id, many hosts share it
	}
	return Identity{HostKey: key, Machine: machine, User: strings.TrimSpace(user)}, nil
}

// Identify returns what distinguishes one host from all others, however it is reached. Its key is
// not enough, because copies of one machine share it. What a host reports about itself is not
// enough either: another host could report the same.
func Identify(ctx context.Context, h *sshclient.Host) (string, error) {
	key, said, err := identify(ctx, h, sshclient.Command{Script: identifyScript})
	if err != nil {
		return "", fmt.Errorf("identify the machine that is SSH host %q: %w", h.Name(), err)
	}
	return key + "\n" + said, nil
}

// identify returns the key of a host, and the output of a command that runs there as the login.
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

// userScript then prints the uid and home directory of $name, if that user exists.
const userScript = `
account "$name"
[ "$origin" = absent ] || printf 'user %s:%s\n' "$uid" "$home"`

// identifyScript prints which boot of which kernel it runs on, and which root directory: containers
// on one kernel have their own.
const identifyScript = `cat /proc/sys/kernel/random/boot_id 2>/dev/null
stat -c '%d %i' /`
