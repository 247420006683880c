package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
)

// managed is what a resource must implement to be made a located one.
type managed interface {
	resource.ResourceWithConfigure
	resource.ResourceWithImportState
	resource.ResourceWithModifyPlan
}

// A located resource remembers what it stands for, independently of the name of the entry of the
// provider block that leads there. Another entry that leads to the same object is a change in
// place. Another server under the same name is noticed. What could not be checked at plan time is
// checked before anything is changed.
type located struct {
	managed
	place   place
	clients *clients
}

var _ resource.ResourceWithValidateConfig = (*located)(nil)

// at makes located resources of the resources that create makes.
func at(p place, create func() managed) func() resource.Resource {
	return func() resource.Resource { return &located{managed: create(), place: p} }
}

// Configure gives the resource the provider's clients.
func (l *located) Configure(ctx context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	l.clients, _ = req.ProviderData.(*clients)
	l.managed.Configure(ctx, req, resp)
}

// ValidateConfig calls the resource's own, if it has one.
func (l *located) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	if validates, ok := l.managed.(resource.ResourceWithValidateConfig); ok {
		validates.ValidateConfig(ctx, req, resp)
	}
}

// Create also remembers the identity of what was created.
func (l *located) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	l.managed.Create(ctx, req, resp)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(forgetImport(ctx, resp.Private)...)
		resp.Diagnostics.Append(l.remember(ctx, resp.State, resp.Private)...)
	}
}

// remember stores the identity. If the identity cannot be read, the next refresh stores it.
func (l *located) remember(ctx context.Context, of attributes, private privateState) diag.Diagnostics {
	id, err := l.place.identify(ctx, l.clients, l.place.entry(ctx, of), false, of)
	if err != nil {
		return nil
	}
	return storeIdentity(ctx, private, id)
}

// Read keeps the state of an object that cannot be reached because its entry is gone: the plan says
// what becomes of it. Read notices when an entry now leads elsewhere.
func (l *located) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	entry := l.place.entry(ctx, req.State)
	if l.clients != nil {
		l.clients.walk.reads()
	}
	if l.place.isGone(l.clients, entry) != nil {
		return
	}
	l.managed.Read(ctx, req, resp)
	if resp.Diagnostics.HasError() {
		return
	}
	if l.place.lost != nil && !resp.State.Raw.IsNull() {
		l.clients.walk.finds(l.key(ctx, resp.State))
	}
	if isImported(ctx, req.Private) && !resp.State.Raw.IsNull() {
		l.clients.walk.finds(l.importedInWalk(ctx, resp.State))
	}
	now, err := l.place.identify(ctx, l.clients, entry, true, req.State)
	if err != nil {
		return
	}
	stored := storedIdentity(ctx, req.Private)
	if stored != nil && stored.isElsewhere(now) {
		now.Was = l.place.words.of(*stored)
		resp.Diagnostics.AddWarning(fmt.Sprintf("%s %q now leads elsewhere", l.place.path(), entry), fmt.Sprintf(
			"%s.%s of the provider block led to %s at the last apply, and now leads to %s. The entry was changed, or the server or SSH host behind it was replaced, restored or upgraded. "+
				"From the next apply on, this resource stands for the object of the same name there. If that object does not exist, the plan creates it. If you do not want that, correct the entry.",
			l.place.entries(l.clients).attribute, entry, now.Was, l.place.words.of(now)))
	}
	if !resp.State.Raw.IsNull() {
		resp.Diagnostics.Append(storeIdentity(ctx, resp.Private, now)...)
	}
}

// ModifyPlan plans another entry as a change in place, or as a replacement if the entry leads
// elsewhere.
func (l *located) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	l.managed.ModifyPlan(ctx, req, resp)
	if resp.Diagnostics.HasError() || l.clients == nil {
		return
	}
	if req.State.Raw.IsNull() {
		// For -replace and a tainted resource, Terraform reports only that it creates what the
		// provider has just read. For -replace, it shows errors alone.
		if l.place.lost != nil && l.clients.walk.has(l.key(ctx, req.Plan)) {
			resp.Diagnostics.Append(l.loses(ctx, l.place.entry(ctx, req.Plan), req.Plan)...)
		}
		if l.clients.walk.has(l.importedInWalk(ctx, req.Plan)) {
			resp.Diagnostics.Append(l.dropsImported(ctx, req.Plan)...)
		}
		return
	}
	at, from := l.place.path(), l.place.entry(ctx, req.State)
	defer func() {
		// The framework adds only later the replacements that the attributes themselves require.
		drops := req.Plan.Raw.IsNull() || len(resp.RequiresReplace) > 0 || namesOf(ctx, req.State) != namesOf(ctx, req.Plan)
		if drops && isImported(ctx, req.Private) {
			resp.Diagnostics.Append(l.dropsImported(ctx, req.State)...)
		}
	}()
	if req.Plan.Raw.IsNull() {
		resp.Diagnostics.Append(l.checkDestroy(from, storedIdentity(ctx, req.Private))...)
		return
	}
	var to types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, at, &to)...)
	if len(resp.RequiresReplace) > 0 { // for another reason
		resp.Diagnostics.Append(l.checkDestroy(from, storedIdentity(ctx, req.Private))...)
		if l.place.lost != nil && !resp.Diagnostics.HasError() {
			resp.Diagnostics.Append(l.loses(ctx, from, req.State)...)
		}
		return
	}
	if to.IsUnknown() || to.ValueString() == from {
		return
	}
	switch verdict, why := l.compare(ctx, from, to.ValueString(), storedIdentity(ctx, req.Private), true, req.State); verdict {
	case isUnsettled:
		resp.Diagnostics.AddAttributeWarning(at, fmt.Sprintf("Could not check where %q leads", to.ValueString()), fmt.Sprintf(
			"%s. The plan treats this as a change in place. The apply checks first, and changes nothing if the entry does not lead to the same place as %q.", why, from))
	case isOther:
		// When it applies, Terraform plans once more, without a refresh, and accepts only the same
		// plan.
		if !l.clients.walk.isPlanning() {
			resp.Diagnostics.AddAttributeError(at, fmt.Sprintf("%q does not lead to the same place as %q", to.ValueString(), from), why+". Nothing was changed. Plan again with a refresh.")
			return
		}
		resp.Diagnostics.Append(l.replace(ctx, at, from, to.ValueString(), why, req.State)...)
		resp.RequiresReplace = append(resp.RequiresReplace, at)
		if l.place.moves != nil {
			l.place.moves(ctx, l.clients, resp.Plan) // not the one of the request, which lacks what the resource has computed
		}
	}
}

// checkDestroy refuses to plan a destroy that could not be done, or that would hit what this
// resource has not created.
func (l *located) checkDestroy(entry string, stored *identity) (diags diag.Diagnostics) {
	if gone := l.place.isGone(l.clients, entry); gone != nil {
		diags.AddError("Cannot destroy an object that cannot be reached", gone.Error()+".")
	}
	if stored != nil && stored.Was != "" {
		diags.AddError(fmt.Sprintf("%s %q now leads elsewhere", l.place.path(), entry), fmt.Sprintf(
			"The entry now leads to %s, but this resource was last applied to %s. It may not have created the object of the same name there, and does not destroy it. "+
				"Correct the entry. If the new place is intended, apply once without destroying: that accepts it.", l.place.words.of(*stored), stored.Was))
	}
	return diags
}

// replace says why another entry means a replacement, and refuses one that would lose data.
func (l *located) replace(ctx context.Context, at path.Path, from, to, why string, state attributes) (diags diag.Diagnostics) {
	elsewhere := fmt.Sprintf("%q does not lead to the same place as %q: %s.", to, from, why)
	gone, lost := l.place.isGone(l.clients, from), error(nil)
	if gone == nil && l.place.lost != nil {
		lost = l.place.lost(ctx, l.clients, from, state)
	}
	switch {
	case gone != nil:
		diags.AddAttributeError(at, "Another "+l.place.entries(l.clients).noun, elsewhere+fmt.Sprintf(
			" The object that this resource stands for cannot be deleted without the entry %[1]q. Add that entry again, or make Terraform forget the object with terraform state rm.", from))
	case lost != nil:
		diags.AddAttributeError(at, "Replacing would lose data", elsewhere+fmt.Sprintf(
			" The object would be deleted on %[1]q and created again on %[2]q, but %[3]v\n\nTo start over on %[2]q, leave this resource as it is, and add another one.",
			from, to, lost))
	default:
		diags.AddAttributeWarning(at, fmt.Sprintf("%q does not lead to the same place as %q", to, from), elsewhere+" The plan therefore replaces it: it is deleted there and created here.")
	}
	return diags
}

// loses says what would be lost if the object were deleted through an entry and created again.
func (l *located) loses(ctx context.Context, entry string, of attributes) (diags diag.Diagnostics) {
	var contents *postgres.ContentsError
	if !errors.As(l.place.lost(ctx, l.clients, entry, of), &contents) {
		return nil
	}
	var force types.Bool
	of.GetAttribute(ctx, path.Root("force_destroy"), &force)
	if name := text(ctx, of, "name"); force.ValueBool() {
		diags.AddWarning(fmt.Sprintf("Replacing loses data: %s %q", l.place.words.object, name), fmt.Sprintf(
			"%q on %s %q is dropped and created again, because force_destroy is set. Lost with it:%s", name, l.place.path(), entry, contents.List()))
	} else {
		diags.AddError("Replacing would lose data", fmt.Sprintf("%q on %s %q would be dropped and created again, but %v", name, l.place.path(), entry, contents))
	}
	return diags
}

// key distinguishes objects that hold data from everything else that a plan reads.
func (l *located) key(ctx context.Context, of attributes) string {
	var named resource.MetadataResponse
	l.managed.Metadata(ctx, resource.MetadataRequest{}, &named)
	return strings.Join([]string{named.TypeName, l.place.entry(ctx, of), namesOf(ctx, of)}, "\x00")
}

// namesOf distinguishes the objects within one place.
func namesOf(ctx context.Context, of attributes) string {
	var parts []string
	for _, attribute := range []string{"database", "username", "name"} {
		parts = append(parts, text(ctx, of, attribute))
	}
	key, err := linux.ParsePublicKey(text(ctx, of, "public_key"))
	if err == nil {
		key.Comment = ""
		parts = append(parts, key.String())
	}
	return strings.Join(parts, "\x00")
}

// compare asks both entries, as far as they exist and answer.
func (l *located) compare(ctx context.Context, from, to string, stored *identity, plans bool, of attributes) (verdict, string) {
	ask := func(entry string) (*identity, error) {
		id, err := l.place.identify(ctx, l.clients, entry, plans, of)
		if err != nil {
			return nil, err
		}
		return &id, nil
	}
	after, err := ask(to)
	before, _ := ask(from) // if that fails, the remembered identity serves
	v, why := compareIdentities(stored, before, after, l.place.words)
	if err != nil {
		why = err.Error()
	}
	return v, why
}

// confirm refuses to change what an entry leads to unless it is what this resource stands for.
func (l *located) confirm(ctx context.Context, from, to string, private privateState, of attributes) (diags diag.Diagnostics) {
	stored := storedIdentity(ctx, private)
	if from != to {
		if v, why := l.compare(ctx, from, to, stored, false, of); v != isSame {
			diags.AddAttributeError(l.place.path(), fmt.Sprintf("%q may not lead to the same place as %q", to, from), fmt.Sprintf(
				"%s. Nothing was changed. If both should lead to the same place, make sure that both entries can be reached, and apply again. Otherwise, plan again.", why))
		}
		return diags
	}
	now, err := l.place.identify(ctx, l.clients, to, false, of)
	if err == nil && stored != nil && stored.isElsewhere(now) {
		diags.AddError(fmt.Sprintf("%s %q now leads elsewhere", l.place.path(), to), fmt.Sprintf(
			"It leads to %s, but this was planned for %s. Nothing was changed. Correct the entry, or plan again.", l.place.words.of(now), l.place.words.of(*stored)))
	}
	return diags
}

// Update also confirms that it updates what was planned, and remembers it.
func (l *located) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.Diagnostics.Append(l.confirm(ctx, l.place.entry(ctx, req.State), l.place.entry(ctx, req.Plan), req.Private, req.State)...)
	if resp.Diagnostics.HasError() {
		return
	}
	l.managed.Update(ctx, req, resp)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(l.remember(ctx, resp.State, resp.Private)...)
	}
}

// Delete confirms that as well.
func (l *located) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	entry := l.place.entry(ctx, req.State)
	resp.Diagnostics.Append(l.confirm(ctx, entry, entry, req.Private, req.State)...)
	if !resp.Diagnostics.HasError() {
		l.managed.Delete(ctx, req, resp)
	}
}
