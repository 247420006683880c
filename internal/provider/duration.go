package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// validDuration refuses text that is not a duration, and a duration that is negative or longer than
// the limit.
type validDuration struct{ limit time.Duration }

func (v validDuration) Description(context.Context) string {
	return fmt.Sprintf("must be a duration from 0s to %s", durationText(v.limit))
}

func (v validDuration) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v validDuration) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	text := req.ConfigValue.ValueString()
	refuse := func(format string, args ...any) {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid duration", fmt.Sprintf("%q "+format, append([]any{text}, args...)...))
	}
	switch d, err := time.ParseDuration(text); {
	case err != nil:
		refuse(`is not a duration: write hours, minutes and seconds, such as "24h", "90m" or "1h30m". There is no unit for days.`)
	case d < 0:
		refuse(`is negative: "0s" is the minimum.`)
	case d > v.limit:
		refuse("is too long: %q is the maximum.", durationText(v.limit))
	}
}

// sameDuration plans no change where only the spelling changes: "1440m" for "24h".
type sameDuration struct{}

func (sameDuration) Description(context.Context) string {
	return "another spelling of the same duration is not a change"
}

func (m sameDuration) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (sameDuration) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if equalDurations(req.StateValue, req.PlanValue) {
		resp.PlanValue = req.StateValue
	}
}

// equalDurations reports whether both texts are durations, and equal.
func equalDurations(a, b types.String) bool {
	d, err := time.ParseDuration(a.ValueString())
	e, err2 := time.ParseDuration(b.ValueString())
	return err == nil && err2 == nil && d == e
}

// durationText writes a duration as people write it: "24h", not "24h0m0s".
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
