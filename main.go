// Terraform-provider-stitch sets up PostgreSQL replication as Stitch does, and runs it.
package main

import (
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/provider"
)

var version = "dev" // set by the release build

func main() {
	debug := flag.Bool("debug", false, "serve for a debugger, and print the TF_REATTACH_PROVIDERS to export")
	flag.Parse()

	// Terraform asks a provider to stop over its own connection. A SIGTERM to the whole process
	// group (systemd, CI runners) would kill the provider before that request, and lose the state
	// of what it is applying.
	signal.Ignore(syscall.SIGTERM)

	// pgx reads a service file before any other setting.
	for _, name := range []string{"PGSERVICE", "PGSERVICEFILE"} {
		if err := os.Unsetenv(name); err != nil {
			log.Fatal(err)
		}
	}

	var options []tf6server.ServeOpt
	if *debug {
		options = append(options, tf6server.WithManagedDebug())
	}
	p := provider.New(version)
	err := tf6server.Serve("registry.terraform.io/terraform-stitch/stitch", func() tfprotov6.ProviderServer { return provider.NewServer(p) }, options...)
	p.Close()
	if err != nil {
		log.Fatal(err)
	}
}
