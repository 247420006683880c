package linux

import (
	"cmp"
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// ends are the two ends of a connection to a host, as the host sees them. "" is an end that the
// host does not report.
type ends struct{ peer, localAddress, localPort string }

// connectionEnds asks for the ends of the connection that carries the commands of h. Match in
// sshd_config depends on them.
func connectionEnds(ctx context.Context, h *sshclient.Host) (ends, error) {
	answer, err := h.Run(ctx, sshclient.Command{Script: `printf '%s' "${SSH_CONNECTION-}"`, User: h.Username()}) // because sudo drops the variable
	return parseEnds(answer), err
}

// parseEnds reads SSH_CONNECTION: the client's address and port, and the server's.
func parseEnds(answer []byte) ends {
	var texts [4]string
	for i, text := range strings.Fields(string(answer[:min(len(answer), 200)])) {
		if i == len(texts) {
			break
		}
		_, notAddress := netip.ParseAddr(text)
		_, notPort := strconv.ParseUint(text, 10, 16)
		if i%2 == 0 && notAddress == nil || i%2 == 1 && notPort == nil {
			texts[i] = text
		}
	}
	return ends{texts[0], texts[2], texts[3]}
}

// data is the data that keys_locate.sh needs.
func (e ends) data(username string) map[string]string {
	return map[string]string{
		"name":          username,
		"peer":          cmp.Or(e.peer, "127.0.0.1"),
		"local_address": cmp.Or(e.localAddress, "127.0.0.1"),
		"local_port":    cmp.Or(e.localPort, "22"),
	}
}
