package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/preflight"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/syncrun"
)

// Text for people from servers and hosts contains nothing that a terminal would obey, whatever they
// send.
func TestTextsOfOthers(t *testing.T) {
	ctx := t.Context()
	var run syncRunModel
	diags := run.fromRun(ctx, syncrun.Run{Run: catalog.Run{ID: forged, Status: forged}, Tables: []catalog.Report{{
		SourceTable: forged, TableName: forged, Status: forged, Method: forged, ReplicationKey: forged, Bookmark: forged,
		Changes: []string{forged}, Notes: []string{forged}, Verification: forged, Error: forged,
	}}})
	var check sshCheckModel
	check.fromSSHD(linux.SSHD{Known: true, AllowTCPForwarding: forged, PermitOpen: []string{forged}})
	var connection connectionCheckModel
	diags.Append(connection.fromConnection(ctx, preflight.Connection{
		NotIndexed: map[relation.TableName]string{{Schema: forged, Name: forged}: forged},
	})...)
	model := replicationModel{Destination: types.ObjectNull(endpointType.AttrTypes)}
	model.fromDefinition(ctx, definition.Definition{
		AcceptSourceIdentity: forged, Tables: map[string]definition.Selection{"public.t": {Method: forged}},
	})
	for what, said := range map[string]any{
		"a run": run, "sshd": check, "a connection": connection,
		"a definition": []any{model.AcceptSourceIdentity, model.Tables},
	} {
		// The framework shows a string as Go does: an escape already has two backslashes.
		shown := strings.NewReplacer(`\\`, "", `\"`, "").Replace(fmt.Sprint(said))
		if i := strings.Index(shown, `\`); i >= 0 || !strings.Contains(shown, "x1b") {
			t.Errorf("%s: %s", what, shown[max(0, i-40):min(len(shown), i+40)])
		}
	}
	if diags.HasError() {
		t.Error(diags)
	}
}
