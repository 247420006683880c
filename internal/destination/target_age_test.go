package destination

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

func TestChangeReason(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	left := catalog.LoadedTable{OID: 1, File: 2, Rows: n(10), Sequence: n(7)}
	for name, tt := range map[string]struct {
		w    Placement
		left catalog.LoadedTable
		want string // part of the error
	}{
		"as it was left":                  {Placement{OID: 1, File: 2}, left, ""},
		"without rows":                    {Placement{OID: 1, File: 2, Empty: true}, left, "was emptied after the last run, which left 10 rows in it"},
		"without rows, as before":         {Placement{OID: 1, File: 2, Empty: true}, catalog.LoadedTable{OID: 1, File: 2, Rows: n(0)}, ""},
		"moved":                           {Placement{OID: 1, File: 3, contents: &contents{10, n(7)}}, left, ""},
		"moved, and was always empty":     {Placement{OID: 1, File: 3, Empty: true, contents: &contents{0, nil}}, catalog.LoadedTable{OID: 1, File: 2, Rows: n(0)}, ""},
		"truncated":                       {Placement{OID: 1, File: 3, Empty: true, contents: &contents{0, nil}}, left, "was emptied, restored or rewritten after the last run. It holds 0 rows, and the last run left 10"},
		"as many rows of an earlier load": {Placement{OID: 1, File: 3, contents: &contents{10, n(6)}}, left, "It holds 10 rows, and the last run left 10"},
		"another, alike":                  {Placement{OID: 5, File: 6, contents: &contents{10, n(7)}}, left, ""},
		"another":                         {Placement{OID: 5, File: 6, contents: &contents{9, n(7)}}, left, "dropped and created again. It holds 9 rows, and the last run left 10"},
		"not counted":                     {Placement{OID: 1, File: 3}, left, "was emptied, restored or rewritten after the last run"},
		"never counted":                   {Placement{OID: 1, File: 3, contents: &contents{10, n(7)}}, catalog.LoadedTable{OID: 1, File: 2}, "was emptied, restored or rewritten after the last run"},
	} {
		if got := tt.w.changeReason(tt.left); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
