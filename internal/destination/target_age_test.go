package destination

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

func TestWhereaboutsOlder(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	left := catalog.LoadedTable{OID: 1, File: 2, Rows: n(10), Sequence: n(7)}
	for name, tt := range map[string]struct {
		w    Whereabouts
		left catalog.LoadedTable
		want string // part of the error
	}{
		"as it was left":                  {Whereabouts{OID: 1, File: 2}, left, ""},
		"without rows":                    {Whereabouts{OID: 1, File: 2, Empty: true}, left, "was emptied after the last run, which left 10 rows in it"},
		"without rows, as before":         {Whereabouts{OID: 1, File: 2, Empty: true}, catalog.LoadedTable{OID: 1, File: 2, Rows: n(0)}, ""},
		"moved":                           {Whereabouts{OID: 1, File: 3, holds: &holding{10, n(7)}}, left, ""},
		"moved, and was always empty":     {Whereabouts{OID: 1, File: 3, Empty: true, holds: &holding{0, nil}}, catalog.LoadedTable{OID: 1, File: 2, Rows: n(0)}, ""},
		"truncated":                       {Whereabouts{OID: 1, File: 3, Empty: true, holds: &holding{0, nil}}, left, "was emptied, restored or rewritten after the last run. It holds 0 rows, and the last run left 10"},
		"as many rows of an earlier load": {Whereabouts{OID: 1, File: 3, holds: &holding{10, n(6)}}, left, "It holds 10 rows, and the last run left 10"},
		"another, alike":                  {Whereabouts{OID: 5, File: 6, holds: &holding{10, n(7)}}, left, ""},
		"another":                         {Whereabouts{OID: 5, File: 6, holds: &holding{9, n(7)}}, left, "dropped and created again. It holds 9 rows, and the last run left 10"},
		"not counted":                     {Whereabouts{OID: 1, File: 3}, left, "was emptied, restored or rewritten after the last run"},
		"never counted":                   {Whereabouts{OID: 1, File: 3, holds: &holding{10, n(7)}}, catalog.LoadedTable{OID: 1, File: 2}, "was emptied, restored or rewritten after the last run"},
	} {
		if got := tt.w.older(tt.left); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
