package provider

import (
	"errors"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// diagnose turns an error into a diagnostic. The summary reads "Cannot <verb> <noun>".
func diagnose(summary string, err error) diag.Diagnostic {
	text := postgres.Explain(err)
	isChange := strings.HasPrefix(summary, "Cannot update ") || strings.HasPrefix(summary, "Cannot change ")
	if isChange && (errors.Is(err, postgres.ErrNotFound) || errors.Is(err, linux.ErrNotFound)) {
		text += "\n\nIt was there when this was planned, and is gone: plan again. What is missing is then planned to be created."
	}
	return diag.NewErrorDiagnostic(summary, text)
}

// unchecked is the warning that something could not be looked at. Before the
// first apply that is no fault, so it says what follows rather than what to do.
func unchecked(summary string, err error, follows string) diag.Diagnostic {
	return diag.NewWarningDiagnostic(summary, err.Error()+"\n\n"+
		"That is as it should be while the user, the database or the server is still to be created, or its password to be changed, for instance by the next apply. "+follows)
}
