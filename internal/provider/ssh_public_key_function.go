package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// sshPublicKeyFunction computes the public half of a private key.
type sshPublicKeyFunction struct{}

func newSSHPublicKeyFunction() function.Function { return sshPublicKeyFunction{} }

// Metadata names the function.
func (sshPublicKeyFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "ssh_public_key"
}

// Definition describes the function.
func (sshPublicKeyFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Public key of a private SSH key",
		MarkdownDescription: "Returns the public half of a private key in the form that `authorized_keys` holds, such as `ssh-ed25519 AAAA...`, for a `stitch_ssh_authorized_key`. " +
			"Terraform treats the result of a sensitive key as sensitive as well. To show it, use `nonsensitive(provider::stitch::ssh_public_key(var.key))`.",
		Parameters: []function.Parameter{
			function.StringParameter{
				Name:                "private_key",
				MarkdownDescription: "The private key, as OpenSSH or PEM text (`file(\"...\")` reads one).",
			},
		},
		VariadicParameter: function.StringParameter{
			Name:                "passphrase",
			MarkdownDescription: "Passphrase of the key, if it is encrypted.",
		},
		Return: function.StringReturn{},
	}
}

// Run computes the public key.
func (sshPublicKeyFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var privateKey string
	var passphrases []string
	if resp.Error = req.Arguments.Get(ctx, &privateKey, &passphrases); resp.Error != nil {
		return
	}
	if len(passphrases) > 1 {
		resp.Error = function.NewArgumentFuncError(2, "Give at most one passphrase.")
		return
	}
	publicKey, err := sshclient.PublicKey(privateKey, append(passphrases, "")[0])
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, err.Error())
		return
	}
	resp.Error = resp.Result.Set(ctx, publicKey)
}
