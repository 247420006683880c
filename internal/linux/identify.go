package linux

import (
	"context"
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

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
