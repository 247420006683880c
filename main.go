// Terraform-provider-stitch sets up PostgreSQL replication as Stitch does it,
// and runs it.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	frameworkprovider "github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/provider"
)

var version = "dev" // set by the release build

func main() {
	debug := flag.Bool("debug", false, "serve for a debugger, and print the TF_REATTACH_PROVIDERS to export")
	flag.Parse()

	// Terraform asks a provider to stop over its own connection. A SIGTERM to
	// the whole process group (systemd, CI runners) would kill it before that,
	// and with it the state of what is being applied.
	signal.Ignore(syscall.SIGTERM)

	// pgx reads a service file before it is told anything else.
	for _, name := range []string{"PGSERVICE", "PGSERVICEFILE"} {
		if err := os.Unsetenv(name); err != nil {
			log.Fatal(err)
		}
	}

	p := provider.New(version)
	err := providerserver.Serve(context.Background(), func() frameworkprovider.Provider { return p }, providerserver.ServeOpts{
		Address: "registry.terraform.io/terraform-stitch/stitch",
		Debug:   *debug,
	})
	p.Close()
	if err != nil {
		log.Fatal(err)
	}
}
