package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// waitForCancel leaves everything in place until ctx is cancelled.
func (q *quickstart) waitForCancel(ctx context.Context) error {
	if err := os.WriteFile(q.path("env.sh"), []byte(q.shell()), 0o600); err != nil {
		return fmt.Errorf("write env.sh: %w", err)
	}
	q.playing = true
	fmt.Print(strings.ReplaceAll(instructions, "DIR", q.dir))
	<-ctx.Done()
	return context.Cause(ctx)
}

// shell is the text that a shell sources to use Terraform as this program does.
func (q *quickstart) shell() string {
	var b strings.Builder
	b.WriteString("# Addresses and logins of the sandbox's servers. This file is removed with the sandbox.\n")
	for _, variable := range append(q.variables(),
		"TF_CLI_CONFIG_FILE="+q.path("terraform.rc"),
		"CHECKPOINT_DISABLE=1",
		"PGSERVICEFILE="+q.path("services.conf"),
	) {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, value)
	}
	fmt.Fprintf(&b, "export PATH='%s':\"$PATH\"\n", filepath.Dir(q.source.Program("pgbench")))
	return b.String()
}

const instructions = `Two servers are running, and Terraform is initialised. In another shell:

    cd DIR/quickstart
    . ../env.sh               # addresses, passwords, and where psql is
    terraform plan
    terraform apply
    terraform output report   # the loading report

Look at both servers. The services "source" and "destination" are administrators,
"source_stitch" and "destination_stitch" are what runs log in as:

    psql service=source -c '\dt shop.*'
    psql service=destination -c 'TABLE shop_postgresql.open_orders LIMIT 5'
    psql service=destination -c 'SELECT table_name, bookmark FROM _stitch.bookmark'

Then try:

  New rows       pgbench -n -T 10 -c 2 service=source
                 export TF_VAR_run=2; terraform apply
  A new column   psql service=source -c 'ALTER TABLE shop.customers ADD phone text'
                 export TF_VAR_run=3; terraform apply
  A new table    psql service=source -c 'CREATE TABLE shop.notes (id int PRIMARY KEY, note text)'
                 add it to tables in main.tf; terraform apply
  Drift          psql service=source -c 'REVOKE SELECT ON shop.orders FROM stitch'
                 terraform plan
  A mistake      misspell a table or a column in main.tf; terraform plan
  A failure      psql service=destination -c 'ALTER TABLE shop_postgresql.customers OWNER TO postgres'
                 export TF_VAR_run=4; terraform apply    # the other tables finish
                 psql service=destination -c 'ALTER TABLE shop_postgresql.customers OWNER TO stitch'
                 terraform apply                         # continues
  An import      terraform state rm stitch_replication.shop
                 terraform import stitch_replication.shop warehouse_stitch/analytics/shop_postgresql
  Caution        remove force_destroy from main.tf; terraform apply; terraform destroy

Ctrl-C here stops the servers and removes DIR.
`
