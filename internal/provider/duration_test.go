package provider

import (
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"
)

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 0: "0s", time.Hour + 5*time.Second: "1h0m5s",
		70 * time.Minute: "1h10m", 1500 * time.Millisecond: "1.5s", 100 * time.Hour: "100h", 20 * time.Second: "20s",
	} {
		got := durationText(d)
		if got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
		if !equalDurations(types.StringValue(got), types.StringValue(d.String())) {
			t.Errorf("%q is another duration than %s", got, d)
		}
	}
	if equalDurations(types.StringUnknown(), types.StringNull()) || equalDurations(types.StringValue("1h"), types.StringNull()) {
		t.Error("what is not known is no duration")
	}
}
