package provider

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// factories serve a new provider for each command of a test.
func factories() map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){
		"stitch": func() (tfprotov6.ProviderServer, error) {
			return NewServer(New("test")), nil
		},
	}
}

// providerBlock returns the configuration of the provider with the given entries of servers.
func providerBlock(entries map[string]string) string {
	var b strings.Builder
	b.WriteString("provider \"stitch\" {\n  servers = {\n")
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		fmt.Fprintf(&b, "    %s = %s\n", name, entries[name])
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

// login returns an entry of servers that logs in to s as username.
func login(s *sandbox.Server, username, password string) string {
	return fmt.Sprintf("{ host = %q, port = %d, username = %q, password = %q }", s.Host, s.Port, username, password)
}

// administrator returns an entry of servers that logs in to s as the superuser.
func administrator(s *sandbox.Server) string { return login(s, s.Username, s.Password) }

// says matches text as Terraform prints it: Terraform may break a line at any blank.
func says(text string) *regexp.Regexp {
	return regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(text), " ", `[\s│]+`))
}
