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
	place, err := Identify(ctx, h)
	if err != nil {
		return Identity{}, err
	}
	answer, err := h.Run(ctx, sshclient.Command{
		Script: accountScript + `account "$name"; printf '%s %s' "$origin" "$uid:$home"`, User: h.Username(),
		Data: map[string]string{"name": name},
	})
	if err != nil {
		return Identity{}, fmt.Errorf("find out who user %q of SSH host %q is: %w", name, h.Name(), err)
	}
	id := Identity{}
	id.HostKey, id.Machine, _ = strings.Cut(place, "\n")
	if origin, user, _ := strings.Cut(string(answer), " "); origin != "absent" {
		id.User = user
	}
	return id, checkFact("user", id.User)
}

// Identify returns what tells one host from all others, however it is reached. Its key is
// not enough, as copies of one machine share it. What a host says of itself is not enough
// either: another host could say the same.
func Identify(ctx context.Context, h *sshclient.Host) (string, error) {
	key, err := h.HostKey(ctx)
	var answer []byte
	if err == nil {
		answer, err = h.Run(ctx, sshclient.Command{Script: identifyScript, User: h.Username()})
	}
	said := strings.TrimSpace(string(answer))
	if err == nil && (said == "" || len(said) > maxFact) {
		err = notUnderstood(answer)
	}
	if err != nil {
		return "", fmt.Errorf("find out which machine SSH host %q is: %w", h.Name(), err)
	}
	return key + "\n" + said, nil
}

// identifyScript prints which start of which kernel it is, and which root directory: containers
// on one kernel have their own.
const identifyScript = `cat /proc/sys/kernel/random/boot_id 2>/dev/null
stat -c '%d %i' /`
