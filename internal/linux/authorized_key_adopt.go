package linux

import (
	"context"
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// AdoptAuthorizedKey takes over a line that AddAuthorizedKey found to exist, if the line is the one
// that would be added. Otherwise it returns why not, one line for each reason. It changes nothing.
func AdoptAuthorizedKey(ctx context.Context, h *sshclient.Host, k AuthorizedKey) ([]string, error) {
	found, _, err := readKey(ctx, h, k.Username, k.PublicKey)
	if err != nil {
		return nil, k.wrap("adopt", h, err)
	}
	refusals := k.refusals(*found)
	is, err := isLogin(ctx, h, k.Username, k.PublicKey)
	if is {
		refusals = append(refusals, fmt.Sprintf("ssh_hosts.%s logs in with this key", h.Name()))
	}
	return refusals, k.wrap("adopt", h, err)
}

// refusals returns why an existing line is not taken over for k.
func (k AuthorizedKey) refusals(found keyLine) (lines []string) {
	if !SameOptions(k.Options, found.options) {
		lines = append(lines, fmt.Sprintf("the options are [%s], not [%s]", strings.Join(found.options, ", "), strings.Join(k.Options, ", ")))
	}
	if k.PublicKey.Comment != found.key.Comment {
		lines = append(lines, fmt.Sprintf("the comment of the key is %q, not %q", found.key.Comment, k.PublicKey.Comment))
	}
	return lines
}
