// Quickstart is the program behind "make quickstart" and "make sandbox". It shows the provider at
// work with real Terraform between two real PostgreSQL servers, checks everything that it shows,
// and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func main() {
	play := flag.Bool("play", false, "keep the servers running until Ctrl-C, with a configuration to experiment with")
	flag.Parse()

	signal.Ignore(syscall.SIGPIPE) // "| head" must not keep this program from cleaning up
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	q := &quickstart{began: time.Now(), play: *play}
	err := q.run(ctx)
	if left := q.cleanUp(); left != nil {
		fmt.Fprintf(os.Stderr, "\nCould not clean up: %v\n", left)
		err = errors.Join(err, left)
	}
	switch {
	case err == nil:
		fmt.Printf(finished, time.Since(q.began).Round(time.Second))
	case errors.Is(err, context.Canceled):
		fmt.Println("\nStopped. The servers and all files are gone.")
		if !q.playing {
			os.Exit(130)
		}
	default:
		fmt.Fprintf(os.Stderr, "\nIt failed: could not %v\n", err)
		os.Exit(1)
	}
}

const (
	welcome = `Terraform is about to apply examples/quickstart between two real PostgreSQL
servers, which this program starts on this machine. It leaves nothing behind. Ctrl-C stops it.

`
	finished = `Everything worked and was verified in %s. The servers and all files are gone.

  examples/quickstart/main.tf  is the configuration that was applied
  examples/bastion/main.tf     is the same for a source behind an SSH host
  make sandbox                 starts such servers and leaves them running for you to try
`
)

// A quickstart is one run of this program.
type quickstart struct {
	began               time.Time
	play, playing       bool
	dir                 string // for all files that it writes
	module              string // the directory of the provider's source
	source, destination *sandbox.Server
	appPassword         string // of the user stitch
	warehousePassword   string
	bastion             *sandbox.Host // nil where no SSH host can be started
	bastionBefore       string        // its users
	terraform           terraform
	before              []string         // roles, databases and privileges on both servers
	changed             map[string]int64 // rows that have changed, by table
}

// A step announces what it is about to do. The name completes "could not".
type step struct {
	title, name string
	do          func(context.Context) error
}

func (q *quickstart) run(ctx context.Context) (err error) {
	if !q.play {
		fmt.Print(welcome)
	}
	if q.dir, err = os.MkdirTemp("", "stitch-quickstart-"); err != nil {
		return fmt.Errorf("create a directory: %w", err)
	}

	steps := []step{
		{"Build the provider (a minute the first time), and put it where Terraform looks for it", "build the provider", q.build},
		{"Start two PostgreSQL servers: a source and a destination", "start the servers", q.startServers},
		{"Fill the source: a million accounts of pgbench, and a small shop", "fill the source", q.fillSource},
		{"Terraform installs the provider from the directory that it was built into", "initialise Terraform", q.init},
	}
	if q.play {
		if err := q.runSteps(ctx, steps); err != nil {
			return err
		}
		return q.waitForCancel(ctx)
	}
	steps = append(steps, []step{
		{"Terraform plans: nothing for Stitch exists on either server yet", "plan", q.plan},
		{"Terraform applies: users, grants, a database, the replication and its first run", "apply", q.apply},
		{"Read the loading report, and compare every table on both servers", "compare", q.compare},
		{"The shop goes on: change rows at the source", "change rows at the source", q.change},
		{"Terraform applies again, for one more run", "apply again", q.applyAgain},
		{"Check in the loading report that the run moved the changed rows, and compare again", "confirm that the run moved the changed rows", q.compareChanges},
		{"Terraform plans a third time: nothing is left to do", "confirm that the third plan is empty", q.planNothing},
		{"Terraform destroys everything that it created, in one step", "destroy", q.destroy},
		{"Both servers are as they were", "confirm that both servers are as they were", q.verify},
	}...)
	err = q.startBastion(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		fmt.Printf("The part with an SSH host is skipped: %v\n\n", err)
		return q.runSteps(ctx, steps)
	}
	return q.runSteps(ctx, append(steps, []step{
		{"Now the source is behind an SSH host: only that host can reach it, as db.internal", "prepare examples/bastion", q.prepareBastion},
		{"Terraform applies: a user and a key on that host, and everything else through a tunnel", "apply examples/bastion", q.applyBastion},
		{"Read the loading report, and compare what came through the tunnel", "compare what came through the tunnel", q.compare},
		{"Terraform destroys everything, the tunnel last", "destroy examples/bastion", q.destroy},
		{"Both servers and the SSH host are as they were", "confirm that all hosts are as they were", q.verifyBastion},
	}...))
}

// runSteps does the steps, and reports what each does and how long it took.
func (q *quickstart) runSteps(ctx context.Context, steps []step) error {
	for i, s := range steps {
		began := time.Now()
		fmt.Printf("%d/%d  %s\n", i+1, len(steps), s.title)
		if err := s.do(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("  (%s)\n\n", time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

func (q *quickstart) cleanUp() error {
	var errs []error
	for _, s := range []*sandbox.Server{q.source, q.destination} {
		if s != nil {
			errs = append(errs, s.Stop())
		}
	}
	if q.bastion != nil {
		errs = append(errs, q.bastion.Stop())
	}
	if q.dir != "" {
		errs = append(errs, os.RemoveAll(q.dir))
	}
	return errors.Join(errs...)
}
