package syncrun

import (
	"reflect"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
)

// How a run ended follows from the catalog and, for what the catalog does not hold, from
// whether the run was cancelled.
func TestConclude(t *testing.T) {
	t.Parallel()
	d := definition.Definition{Tables: map[string]definition.Selection{"public.a": {Method: definition.FullTable}, "public.b": {Method: definition.FullTable}}}
	type texts map[string]string
	for name, tt := range map[string]struct {
		written    texts // status by table
		unfinished texts
		cancelled  bool
		status     string
		added      texts // error by table
	}{
		"all":                         {texts{"public.b": "succeeded", "public.a": "succeeded"}, nil, false, "succeeded", nil},
		"all, then cancelled":         {texts{"public.a": "succeeded", "public.b": "succeeded"}, nil, true, "succeeded", nil},
		"one failed":                  {texts{"public.a": "failed", "public.b": "succeeded"}, texts{"public.a": "odd"}, false, "failed", nil},
		"one failed, then cancelled":  {texts{"public.a": "failed"}, texts{"public.a": "odd", "public.b": ""}, true, "interrupted", nil},
		"one was not come to":         {texts{"public.a": "succeeded"}, texts{"public.b": ""}, false, "failed", texts{"public.b": "why"}},
		"one lost its workers":        {texts{"public.a": "succeeded"}, texts{"public.b": "lost"}, false, "failed", texts{"public.b": "lost"}},
		"one stopped half-way":        {texts{"public.a": "interrupted", "public.b": "succeeded"}, texts{"public.a": ""}, false, "failed", texts{"public.a": "why"}},
		"one was cancelled half-way":  {texts{"public.a": "interrupted", "public.b": "succeeded"}, texts{"public.a": ""}, true, "interrupted", nil},
		"none was come to":            {nil, nil, false, "failed", texts{"public.a": "why", "public.b": "why"}},
		"cancelled at the beginning":  {nil, texts{"public.a": "", "public.b": ""}, true, "interrupted", nil},
		"one failed, one interrupted": {texts{"public.a": "failed", "public.b": "interrupted"}, nil, true, "interrupted", nil},
	} {
		var written []catalog.Report
		for table, status := range tt.written {
			written = append(written, catalog.Report{SourceTable: table, Status: status, RowsLoaded: 7})
		}
		c := conclude(d, written, tt.unfinished, tt.cancelled, "why")
		added := texts{}
		for _, r := range c.added {
			added[r.SourceTable] = r.Error
			if r.Status != catalog.Failed || tt.written[r.SourceTable] != "" && r.RowsLoaded != 7 {
				t.Errorf("%s: added %+v", name, r)
			}
		}
		if c.status != tt.status || len(added)+len(tt.added) > 0 && !reflect.DeepEqual(added, tt.added) {
			t.Errorf("%s: %s, added %v, want %s, %v", name, c.status, added, tt.status, tt.added)
		}
		for i := 1; i < len(c.reports); i++ {
			if c.reports[i-1].SourceTable >= c.reports[i].SourceTable {
				t.Errorf("%s: reports are not in the order of the tables", name)
			}
		}
	}
}
