package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/linux"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/postgres"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/replication"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// A checkedString refuses texts, once they are known, for the reason that the domain package gives.
type checkedString struct {
	description string // what it must be
	check       func(string) error
}

func (v checkedString) Description(context.Context) string { return v.description }

func (v checkedString) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

// ValidateString adds the reason.
func (v checkedString) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if err := v.check(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid value", err.Error())
	}
}

// validName refuses what cannot be the name of anything in PostgreSQL.
func validName() checkedString {
	return checkedString{"must be a name of 1 to 63 bytes", pgclient.CheckName}
}

// validSchemaName refuses the names of schemas that cannot be created.
func validSchemaName() checkedString {
	return checkedString{"must be a name of 1 to 63 bytes, and neither public nor one that PostgreSQL or this provider reserves", postgres.CheckSchemaName}
}

// validSourceSchema refuses schemas that hold no data to replicate.
func validSourceSchema() checkedString {
	return checkedString{"must be a name of 1 to 63 bytes, and none of PostgreSQL's own schemas", privilege.CheckSourceSchema}
}

// validReader refuses what cannot be a reader.
func validReader() checkedString {
	return checkedString{"must be a name of 1 to 63 bytes, and not public", replication.CheckReader}
}

// validText refuses empty text, and what PostgreSQL cannot store.
func validText() checkedString {
	return checkedString{"must not be empty", func(text string) error {
		if text == "" {
			return errors.New("it is empty: remove it")
		}
		return pgclient.CheckText(text)
	}}
}

// validComment refuses what PostgreSQL cannot store.
func validComment() checkedString {
	return checkedString{"must not contain a zero byte", pgclient.CheckText}
}

// validUserName refuses what cannot be the name of a Linux user everywhere.
func validUserName() checkedString {
	return checkedString{"must begin with a lower-case letter or an underscore, and have at most 32 lower-case letters, digits, _ and -", linux.CheckUserName}
}

// validGroupName refuses what cannot be the name of a Linux group everywhere.
func validGroupName() checkedString {
	return checkedString{validUserName().description, linux.CheckGroupName}
}

// validHome refuses what cannot be a home directory.
func validHome() checkedString {
	return checkedString{"must be an absolute path", linux.CheckHome}
}

// validShell refuses what cannot be a login shell.
func validShell() checkedString {
	return checkedString{"must be an absolute path", linux.CheckShell}
}

// validUserComment refuses what /etc/passwd cannot hold.
func validUserComment() checkedString {
	return checkedString{"must not contain a colon or control characters", linux.CheckComment}
}

// validPublicKey refuses what is not a key to log in with.
func validPublicKey() checkedString {
	return checkedString{"must be a public key such as ssh-ed25519 AAAA..., and not a weak one", func(text string) error {
		_, err := linux.ParsePublicKey(text)
		return err
	}}
}

// validHostKeys refuses what no host key can equal.
func validHostKeys() checkedString {
	return checkedString{"must be public keys, such as ssh-ed25519 AAAA..., one per line", func(text string) error {
		return sshclient.CheckHostKeys(lines(text))
	}}
}
