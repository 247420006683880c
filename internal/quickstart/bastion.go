package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// bastionState prints what a user, or a key of another user, would leave on the SSH host.
const bastionState = `
	cd /etc
	cat passwd group
	for names in shadow gshadow subuid subgid; do
		[ ! -e "$names" ] || cut -d: -f1 "$names" | sed "s/^/$names /"
	done
	find /home /root -name authorized_keys -exec sha256sum {} +
	ls -A /home`

// startBastion starts the SSH host of examples/bastion.
func (q *quickstart) startBastion(ctx context.Context) (err error) {
	q.bastion, err = sandbox.StartHost(ctx, sandbox.HostConfig{Hosts: map[string]string{"db.internal": "127.0.0.1"}})
	return err
}

// prepareBastion copies into the working directory what the configuration needs, and makes
// Terraform work there from now on.
func (q *quickstart) prepareBastion(ctx context.Context) (err error) {
	if q.bastionBefore, err = q.bastion.Run(ctx, bastionState); err != nil {
		return err
	}
	dir := q.path("bastion")
	err = errors.Join(
		os.CopyFS(dir, os.DirFS(filepath.Join(q.module, "examples", "bastion"))),
		os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(q.source.CA), 0o600),
		os.WriteFile(filepath.Join(dir, "bastion_key"), []byte(q.bastion.RootKey), 0o600),
		os.WriteFile(filepath.Join(dir, "known_hosts"), fmt.Appendf(nil, "[%s]:%d %s\n", q.bastion.Host, q.bastion.Port, q.bastion.HostKeys[0]), 0o600))
	if err != nil {
		return err
	}
	fmt.Println("  $ ssh-keygen -t ed25519 -N '' -f tunnel_key")
	keygen := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "tunnel_key"))
	if out, err := keygen.CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w\n%s", err, out)
	}
	q.terraform.dir = dir
	q.terraform.env = append(q.terraform.env, "TF_VAR_bastion_host="+q.bastion.Host, fmt.Sprint("TF_VAR_bastion_port=", q.bastion.Port))
	return q.init(ctx)
}

func (q *quickstart) applyBastion(ctx context.Context) error {
	return q.terraform.run(ctx, "apply", "-auto-approve")
}

// verifyBastion checks that nothing is left, including on the SSH host.
func (q *quickstart) verifyBastion(ctx context.Context) error {
	now, err := q.bastion.Run(ctx, bastionState)
	if err != nil {
		return err
	}
	if now != q.bastionBefore {
		return fmt.Errorf("the SSH host has changed: it had\n%s\nand now has\n%s", q.bastionBefore, now)
	}
	return q.verify(ctx)
}
