package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
)

// The rules of the horizon, without a server.
func TestHorizon(t *testing.T) {
	at := func(hours int) time.Time { return time.Unix(int64(hours)*3600, 0) }
	passed := []catalog.PastBookmark(nil)
	for hour := range 100 {
		passed = appendPastBookmark(passed, catalog.PastBookmark{At: at(hour).Unix(), Bookmark: fmt.Sprint(hour)}, 24*time.Hour)
		if len(passed) > pastBookmarksPerWindow+2 {
			t.Fatalf("%d bookmarks are kept", len(passed))
		}
		begin := oldestWithin(passed, fmt.Sprint(hour), at(hour).Add(-24*time.Hour))
		if want := max(hour-24, 0); begin != fmt.Sprint(want) {
			t.Errorf("hour %d: the window begins at %s, want %d", hour, begin, want)
		}
	}
	for _, tt := range []struct {
		since, now string
		timeline   int
		want       string
	}{
		{"100:105:101", "200:200:", 1, "(SELECT pg_catalog.age('100'::pg_catalog.xid))"},
		{"4294967396:4294967396:", "4294967500:4294967500:", 1, "age('100'::"},
		{"100:105:", "90:90:", 1, "true"},                 // an earlier state
		{"100:105:", "5000000000:5000000000:", 1, "true"}, // numbers came again
		{"100:105:", "200:200:", 2, "true"},               // another timeline
		{"", "200:200:", 1, "true"},
	} {
		if got := notVisibleIn(tt.since, 1, SnapshotInfo{Snapshot: tt.now, timeline: tt.timeline}); !strings.Contains(got, tt.want) {
			t.Errorf("since %q, now %q: %s", tt.since, tt.now, got)
		}
	}
	h := catalog.Horizon{Open: []string{"3/1", "4/2"}}
	if still := stillOpen(h, SnapshotInfo{open: &OpenTransactions{names: []string{"4/2", "5/9"}}}); !slices.Equal(still, []string{"4/2"}) {
		t.Errorf("still open: %q", still)
	}
}
