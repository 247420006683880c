package provider

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

// diagnose turns an error into a diagnostic. The summary reads "Cannot <verb> <noun>".
func diagnose(summary string, err error) diag.Diagnostic {
	text := pgclient.Explain(err)
	isChange := strings.HasPrefix(summary, "Cannot update ") || strings.HasPrefix(summary, "Cannot change ")
	if isChange && (errors.Is(err, pgclient.ErrNotFound) || errors.Is(err, linux.ErrNotFound)) {
		text += "\n\nIt existed at plan time, but no longer does. Plan again: the new plan creates what is missing."
	}
	return diag.NewErrorDiagnostic(summary, text)
}

// unchecked is the warning that something could not be checked. Before the first apply this is no
// fault, so the warning says what follows rather than what to do.
func unchecked(what string, err error, follows string) diag.Diagnostic {
	text := what + ": " + err.Error() + "\n\n"
	if postgres.IsPasswordRefused(err) {
		return diag.NewWarningDiagnostic(unasked(what, err), text+
			"If this apply creates the user or sets its password, nothing needs to be done. Otherwise, the password in the provider block is wrong, or it was rotated only there: "+
			"raise password_wo_version of its stitch_database_user, because Terraform cannot see that password_wo changed. "+follows)
	}
	return diag.NewWarningDiagnostic(unasked(what, err), text+
		"This is expected as long as the user, the database or the server does not exist yet, or its password has yet to be changed, for instance by the next apply. "+follows)
}

// unasked is the summary for what could not be read or checked. It gives the reason if the reason
// holds for everything on that server or SSH host. Terraform shows the first of the warnings that
// share a summary and counts the others, so one server that is down does not fill the screen.
func unasked(what string, err error) string {
	var unknown *unknownError
	if where := unreachable(err); where != "" {
		return "Could not connect to " + where
	}
	if errors.As(err, &unknown) {
		return "Parts of the provider block are not known yet"
	}
	return what
}

// unread reports an object that could not be read. Where its server or SSH host could not be asked
// at all, it is a warning that the state is kept: a server that is down holds up only what must
// change there. Otherwise, and during an import, which has no state yet, it is an error.
func unread(noun, name string, imported bool, err error) diag.Diagnostic {
	if unreachable(err) == "" || imported {
		return diagnose("Cannot read "+noun, err)
	}
	return diag.NewWarningDiagnostic(unasked("", err), fmt.Sprintf("%s %q was not read: %s\n\n"+
		"Terraform keeps its state unchanged. Changes to it will fail unless the next apply first creates or changes what is missing, such as the login or its password.",
		capital(noun), name, pgclient.Explain(err)))
}

// unreadCatalog is unread for the contents of a catalog. A catalog that exists but can no longer be
// read, because it belongs to another role or was changed, is drift: the next apply must store its
// contents again.
func unreadCatalog(noun, name string, imported bool, destination pgclient.Endpoint, err error) (_ diag.Diagnostic, drift bool) {
	var unknown *unknownError
	var none *noEntryError
	what := fmt.Sprintf("%s %q", capital(noun), name)
	switch {
	case imported:
		return diagnose("Cannot import "+noun+" "+name, err), false
	case errors.As(err, &unknown), errors.As(err, &none):
		return unchecked(what+" was not read", err, "Terraform keeps its state unchanged."), false
	case unreachable(err) != "":
		return unread(noun, name, false, err), false
	case syncrun.IsBusy(err):
		return diag.NewWarningDiagnostic(what+" was not read", pgclient.Explain(err)+"\n\nTerraform keeps its state unchanged."), false
	}
	summary := fmt.Sprintf("The catalog of database %q of server %q cannot be read", destination.Database, destination.Server.Name())
	return diag.NewWarningDiagnostic(summary, pgclient.Explain(err)+"\n\n"+
		"This plan therefore stores its replications and runs them again. That fails unless the catalog can be read by then."), true
}

// unreachable names the server or SSH host that could not be asked at all; "" if none.
func unreachable(err error) string {
	var server *pgclient.ConnectError
	var host *sshclient.ConnectError
	switch {
	case errors.As(err, &server):
		return fmt.Sprintf("server %q", server.Server)
	case errors.As(err, &host):
		return fmt.Sprintf("SSH host %q", host.Host)
	}
	return ""
}
