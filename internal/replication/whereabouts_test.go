package replication

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

func TestWhereaboutsOlder(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	left := catalog.LoadedTable{OID: 1, File: 2, Rows: n(10), Sequence: n(7)}
	for name, tt := range map[string]struct {
		w    whereabouts
		left catalog.LoadedTable
		want string // part of the error
	}{
		"as it was left":                  {whereabouts{oid: 1, file: 2}, left, ""},
		"without rows":                    {whereabouts{oid: 1, file: 2, empty: true}, left, "was emptied since the last run, which left it with 10 rows"},
		"without rows, as before":         {whereabouts{oid: 1, file: 2, empty: true}, catalog.LoadedTable{OID: 1, File: 2, Rows: n(0)}, ""},
		"moved":                           {whereabouts{oid: 1, file: 3, holds: &holding{10, n(7)}}, left, ""},
		"moved, and was always empty":     {whereabouts{oid: 1, file: 3, empty: true, holds: &holding{0, nil}}, catalog.LoadedTable{OID: 1, File: 2, Rows: n(0)}, ""},
		"truncated":                       {whereabouts{oid: 1, file: 3, empty: true, holds: &holding{0, nil}}, left, "was emptied, restored or rewritten since the last run, and holds 0 rows where there were 10"},
		"as many rows of an earlier load": {whereabouts{oid: 1, file: 3, holds: &holding{10, n(6)}}, left, "and holds 10 rows where there were 10"},
		"another, alike":                  {whereabouts{oid: 5, file: 6, holds: &holding{10, n(7)}}, left, ""},
		"another":                         {whereabouts{oid: 5, file: 6, holds: &holding{9, n(7)}}, left, "dropped and created again, and holds 9 rows where there were 10"},
		"not counted":                     {whereabouts{oid: 1, file: 3}, left, "was emptied, restored or rewritten since the last run"},
		"never counted":                   {whereabouts{oid: 1, file: 3, holds: &holding{10, n(7)}}, catalog.LoadedTable{OID: 1, File: 2}, "was emptied, restored or rewritten since the last run"},
	} {
		if got := tt.w.older(tt.left); !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
