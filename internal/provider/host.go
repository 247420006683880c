package provider

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
)

// hostMistake says what is wrong with a host as the configuration has it, or "". A host is a name,
// an address or, for a server, the directory of a socket: everything else has its own attribute.
func hostMistake(host string) string {
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	name, port, err := net.SplitHostPort(host)
	_, notAddress := netip.ParseAddr(host)
	switch {
	case host == "":
		return `It is empty. The provider does not fall back to localhost or to the environment: write the name or address, or "localhost" if you mean this machine.`
	case strings.ContainsAny(host, " \t\r\n"):
		return fmt.Sprintf("%q contains a space: write only the name or address.", host)
	case strings.HasPrefix(host, "/"), notAddress == nil:
		return ""
	case strings.Contains(host, "://"):
		return fmt.Sprintf("%q is a URL: write only the name or address. Port, database, username and password have attributes of their own.", host)
	case strings.Contains(host, "@"):
		return fmt.Sprintf("%q contains an @: write only the name or address, and set the attribute username.", host)
	case strings.Contains(host, ","):
		return fmt.Sprintf("%q is a list, but an entry has one host: write an entry for each host.", host)
	case bare != host && !strings.Contains(host, "]:"):
		return fmt.Sprintf("%q is in brackets, which are only needed together with a port: write %q.", host, bare)
	case err == nil && name != "":
		return fmt.Sprintf("%q contains a port, which has an attribute of its own: write host = %q, port = %s.", host, name, port)
	case strings.Contains(host, "/"):
		return fmt.Sprintf("%q contains a slash: it is neither a name nor an address.", host)
	}
	return ""
}

// validHost refuses the mistakes that hostMistake finds.
type validHost struct{}

func (validHost) Description(context.Context) string { return "must be one name or address" }

func (v validHost) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validHost) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if text := hostMistake(req.ConfigValue.ValueString()); text != "" {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid host", text)
	}
}
