package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// diagnose turns an error into a diagnostic. The summary reads "Cannot <verb> <noun>".
func diagnose(summary string, err error) diag.Diagnostic {
	return diag.NewErrorDiagnostic(summary, postgres.Explain(err))
}

// unchecked is the warning that something could not be looked at for now, and
// what that leaves undone.
func unchecked(summary string, err error) diag.Diagnostic {
	return diag.NewWarningDiagnostic(summary, postgres.Explain(err))
}
