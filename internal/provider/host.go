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
		return `It is empty. It never falls back to localhost, nor to the environment: write the name or address, or "localhost" if that is meant.`
	case strings.ContainsAny(host, " \t\r\n"):
		return fmt.Sprintf("%q holds a blank: write the name or address alone.", host)
	case strings.HasPrefix(host, "/"), notAddress == nil:
		return ""
	case strings.Contains(host, "://"):
		return fmt.Sprintf("%q is a URL: write the name or address alone. Port, database, username and password are attributes of their own.", host)
	case strings.Contains(host, "@"):
		return fmt.Sprintf("%q holds an @: write the name or address alone, and username beside it.", host)
	case strings.Contains(host, ","):
		return fmt.Sprintf("%q is a list: an entry has one host. Write an entry for each.", host)
	case bare != host && !strings.Contains(host, "]:"):
		return fmt.Sprintf("%q is in brackets, which addresses have only beside a port: write %q.", host, bare)
	case err == nil && name != "":
		return fmt.Sprintf("%q holds a port, which is an attribute of its own: write host = %q, port = %s.", host, name, port)
	case strings.Contains(host, "/"):
		return fmt.Sprintf("%q holds a slash, and is neither a name nor an address.", host)
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
