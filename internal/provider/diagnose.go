package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// diagnose turns an error into a diagnostic. The summary reads "Cannot <verb> <noun>".
func diagnose(summary string, err error) diag.Diagnostic {
	return diag.NewErrorDiagnostic(summary, postgres.Explain(err))
}

// unchecked is the warning that something could not be looked at. Before the
// first apply that is no fault, so it says what follows rather than what to do.
func unchecked(summary string, err error, follows string) diag.Diagnostic {
	if postgres.IsPasswordRefused(err) {
		return diag.NewWarningDiagnostic(summary, err.Error()+"\n\n"+
			"If this apply creates the user or sets its password, that will do. If not, the password in the provider block is wrong, or it was rotated there alone: "+
			"raise password_wo_version of its stitch_database_user, since Terraform does not see that password_wo changed. "+follows)
	}
	return diag.NewWarningDiagnostic(summary, err.Error()+"\n\n"+
		"That is as it should be while the user, the database or the server is still to be created, or its password to be changed, for instance by the next apply. "+follows)
}
