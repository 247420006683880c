package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// unreadOnHost is unread for an object of an SSH host. It also keeps the state where the host
// answers: the planned apply may be what removes the obstacle. A host that does not prove its
// identity, and a host that is not known yet, are errors.
func unreadOnHost(ctx context.Context, noun, name string, imported bool, err error) diag.Diagnostic {
	var unknown *unknownError
	var hostKey *sshclient.HostKeyError
	switch {
	case imported, errors.As(err, &unknown), errors.As(err, &hostKey), ctx.Err() != nil:
		return diagnose("Cannot read "+noun, err)
	case unreachable(err) != "":
		return unread(noun, name, false, err)
	}
	return diag.NewWarningDiagnostic(capital(noun)+" "+name+" was not read", err.Error()+
		".\n\nTerraform keeps its state unchanged, and this plan does not show whether the state is still right. An apply that has to change it fails unless it can be read by then.")
}
