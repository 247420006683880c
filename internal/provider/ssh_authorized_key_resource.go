package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// sshAuthorizedKeyResource manages one key of a user's authorized_keys.
type sshAuthorizedKeyResource struct{ onHost }

var (
	_ resource.ResourceWithImportState = (*sshAuthorizedKeyResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*sshAuthorizedKeyResource)(nil)
)

func newSSHAuthorizedKeyResource() managed { return &sshAuthorizedKeyResource{} }

type sshAuthorizedKeyModel struct {
	Host        types.String `tfsdk:"host"`
	Username    types.String `tfsdk:"username"`
	PublicKey   types.String `tfsdk:"public_key"`
	Options     types.List   `tfsdk:"options"`
	Fingerprint types.String `tfsdk:"fingerprint"`
	Problems    types.List   `tfsdk:"problems"`
}

// toKey decodes the values of a plan, which are already validated.
func (m sshAuthorizedKeyModel) toKey(ctx context.Context) (key linux.AuthorizedKey, err error) {
	key.Username = m.Username.ValueString()
	if key.PublicKey, err = linux.ParsePublicKey(m.PublicKey.ValueString()); err != nil {
		return linux.AuthorizedKey{}, fmt.Errorf("read public_key: %w", err)
	}
	if m.Options.ElementsAs(ctx, &key.Options, false).HasError() {
		return linux.AuthorizedKey{}, errors.New("read options: they are not strings")
	}
	return key, nil
}

func (m sshAuthorizedKeyModel) object(ctx context.Context, host *sshclient.Host, key linux.AuthorizedKey) (object, error) {
	return onSSHHost(ctx, host, object{
		noun: "authorized key", name: key.Username + " " + key.PublicKey.Fingerprint(), typeName: "stitch_ssh_authorized_key",
		key: []string{key.Username, key.PublicKey.Fingerprint()},
	})
}

// fromKey overwrites what differs in meaning from the configuration: options can be written in
// several ways, and a key without a configured comment may have any.
func (m *sshAuthorizedKeyModel) fromKey(ctx context.Context, found linux.AuthorizedKey) {
	m.Username = types.StringValue(found.Username)
	m.Fingerprint = types.StringValue(found.PublicKey.Fingerprint())
	m.Problems = stringList(found.Problems)
	configured, err := m.toKey(ctx)
	comment := configured.PublicKey.Comment
	if err != nil || !configured.PublicKey.Same(found.PublicKey) || comment != "" && comment != found.PublicKey.Comment {
		m.PublicKey = types.StringValue(found.PublicKey.String())
	}
	if err != nil || m.Options.IsNull() || !linux.SameOptions(configured.Options, found.Options) {
		m.Options = types.ListValueMust(types.StringType, stringValues(found.Options))
	}
}

func (*sshAuthorizedKeyResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_ssh_authorized_key"
}

func (*sshAuthorizedKeyResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "One key in a Linux user's `authorized_keys`: anyone who has its private half can log in as the user, as far as `options` allow.\n\n" +
			"Every other line of the file stays as it is, byte for byte. The file is replaced in one step, by the user itself, under a lock, and only if no other process changed it since it was read. " +
			"A key that already exists is not taken over unless it is imported, or is [what an earlier apply left](../index.md#after-a-process-that-died). The key that the host's entry itself logs in with is not removed. Destroying an imported key removes it as well; the plan warns about it.\n\n" +
			"The login of the host's entry must be the user itself, `root`, or a user with `sudo`.",
		Attributes: map[string]schema.Attribute{
			"host": hostAttribute(),
			"username": schema.StringAttribute{
				MarkdownDescription: "Name of the user, who must exist. Changing it creates a new line, and removes this one.",
				Required:            true,
				Validators:          []validator.String{validUserName()},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"public_key": schema.StringAttribute{
				MarkdownDescription: "The key as a `.pub` file holds it: `ssh-ed25519 AAAA... comment`. `provider::stitch::ssh_public_key` returns the public key of a private key. " +
					"Another key replaces the line; another comment changes it. DSA keys, and RSA keys of fewer than 2048 bits, are refused.",
				Required:      true,
				Validators:    []validator.String{validPublicKey()},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(isOtherKey, "Another key replaces the line.", "Another key replaces the line.")},
			},
			"options": schema.ListAttribute{
				MarkdownDescription: "What the key allows, as in `authorized_keys`, with one option for each item. For a tunnel: `[\"restrict\", \"port-forwarding\", \"permitopen=\\\"db.internal:5432\\\"\"]`. " +
					"Without options, the key allows everything that the user is allowed to do. " +
					"See [options of a key](../guides/ssh.md#options-of-a-key).",
				ElementType: types.StringType,
				Optional:    true,
				Computed:    true,
				Default:     listdefault.StaticValue(stringList(nil)),
				Validators:  []validator.List{listvalidator.NoNullValues(), validOptions{}},
			},
			"fingerprint": schema.StringAttribute{
				MarkdownDescription: "Fingerprint of the key, `SHA256:...`, as `ssh-keygen -lf` shows it.",
				Computed:            true,
			},
			"problems": schema.ListAttribute{
				MarkdownDescription: "What would make sshd refuse the file that holds the key, as of the last refresh: other users can write to it. Empty after each apply: a plan that shows items here repairs them.",
				ElementType:         types.StringType,
				Computed:            true,
				Default:             listdefault.StaticValue(stringList(nil)),
			},
		},
	}
}

// isOtherKey reports whether a plan has another key, as opposed to another comment.
func isOtherKey(_ context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	if req.PlanValue.IsUnknown() {
		resp.RequiresReplace = true
		return
	}
	before, err := linux.ParsePublicKey(req.StateValue.ValueString())
	after, err2 := linux.ParsePublicKey(req.PlanValue.ValueString())
	resp.RequiresReplace = err != nil || err2 != nil || !before.Same(after)
}

// ModifyPlan also computes the fingerprint.
func (r *sshAuthorizedKeyResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	r.onHost.ModifyPlan(ctx, req, resp)
	if req.Plan.Raw.IsNull() {
		return
	}
	var publicKey types.String
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("public_key"), &publicKey)...)
	if key, err := linux.ParsePublicKey(publicKey.ValueString()); err == nil {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("fingerprint"), key.Fingerprint())...)
	}
}

// Create adds the line.
func (r *sshAuthorizedKeyResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan sshAuthorizedKeyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	key, err := plan.toKey(ctx)
	var host *sshclient.Host
	if err == nil {
		host, err = r.host(plan.Host.ValueString())
	}
	var line object
	if err == nil {
		line, err = plan.object(ctx, host, key)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot create authorized key", err))
		return
	}
	resp.Diagnostics.Append(creation{
		object:     line,
		create:     func() error { return linux.AddAuthorizedKey(ctx, host, key) },
		isExisting: isOnSSHHost,
		adopt:      func() ([]string, error) { return linux.AdoptAuthorizedKey(ctx, host, key) },
	}.run(ctx, r.claims)...)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Fingerprint = types.StringValue(key.PublicKey.Fingerprint())
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

// Read finds the line by the key or, after an import, by its fingerprint.
func (r *sshAuthorizedKeyResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state sshAuthorizedKeyModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var found linux.AuthorizedKey
	host, err := r.hostToRead(state.Host.ValueString())
	if err == nil {
		found, err = linux.FindAuthorizedKey(ctx, host, state.Username.ValueString(), state.Fingerprint.ValueString())
	}
	if errors.Is(err, linux.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		resp.Diagnostics.Append(unreadOnHost(ctx, "authorized key", state.Fingerprint.ValueString()+" of user "+state.Username.ValueString(), state.PublicKey.IsNull(), err))
		return
	}
	state.fromKey(ctx, found)
	resp.Diagnostics.Append(resp.State.Set(ctx, state)...)
}

// Update changes options and comment.
func (r *sshAuthorizedKeyResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan sshAuthorizedKeyModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	key, err := plan.toKey(ctx)
	if err == nil {
		err = r.change(ctx, plan.Host.ValueString(), key)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot change authorized key", err))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, plan)...)
}

func (r *sshAuthorizedKeyResource) change(ctx context.Context, name string, key linux.AuthorizedKey) error {
	host, err := r.host(name)
	if err != nil {
		return err
	}
	return linux.ChangeAuthorizedKey(ctx, host, key)
}

// Delete removes the line.
func (r *sshAuthorizedKeyResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state sshAuthorizedKeyModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	key, err := state.toKey(ctx)
	var host *sshclient.Host
	if err == nil {
		host, err = r.host(state.Host.ValueString())
	}
	var line object
	if err == nil {
		line, err = state.object(ctx, host, key)
	}
	if err != nil {
		resp.Diagnostics.Append(diagnose("Cannot delete authorized key", err))
		return
	}
	resp.Diagnostics.Append(line.remove(ctx, r.claims, func() error {
		return linux.RemoveAuthorizedKey(ctx, host, key.Username, key.PublicKey)
	})...)
}

// ImportState takes over a line.
func (*sshAuthorizedKeyResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByID(ctx, req, resp, "host", "username", "fingerprint")
}

// validOptions refuses options that make sshd ignore the line.
type validOptions struct{}

func (validOptions) Description(context.Context) string {
	return "must be options that sshd accepts in authorized_keys"
}

func (v validOptions) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (validOptions) ValidateList(ctx context.Context, req validator.ListRequest, resp *validator.ListResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	var options []string
	for _, element := range req.ConfigValue.Elements() {
		text, ok := element.(types.String)
		if !ok || text.IsNull() || text.IsUnknown() {
			return // is checked once it is known
		}
		options = append(options, text.ValueString())
	}
	if err := linux.CheckOptions(options); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid options", err.Error())
	}
}
